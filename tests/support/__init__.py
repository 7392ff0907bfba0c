"""What tests share: small studies, scans and cohorts made in memory, stand-ins, strategies."""
