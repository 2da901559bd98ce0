"""What ties studies to the CDM: person, procedure and visit, each with how it was found, by rule or by hand."""
