"""All benchmarks that print ratios: `python -m benchmarks`."""

from benchmarks import dose, importing, kinetics, patient_run

if __name__ == "__main__":
    kinetics.main()
    dose.main()
    importing.main()
    patient_run.main()
