"""The clinical wing: what ties images to patients, requests, notes and codes. It stands on the archive."""
