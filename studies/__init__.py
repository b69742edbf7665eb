"""What happened: studies in a SQL database, fronts, reports and exports."""
