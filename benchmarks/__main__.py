"""All benchmarks that print ratios: `python -m benchmarks`."""

from benchmarks import kinetics, patient_run

if __name__ == "__main__":
    kinetics.main()
    patient_run.main()
