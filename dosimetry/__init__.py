"""Stage 3: the patient run, from a study to absorbed dose, its metrics and the report."""
