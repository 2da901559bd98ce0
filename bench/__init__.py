"""The benchmark: Hilum beside Orthanc, as a user meets both. Run it by `scripts/bench`; nothing imports it."""
