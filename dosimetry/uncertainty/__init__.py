"""How far a structure's number may be off: the parts, their correlations, and their sum."""
