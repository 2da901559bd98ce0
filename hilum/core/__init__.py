"""What every room stands on: settings, errors, database, objects, events, jobs. It knows nothing of imaging."""
