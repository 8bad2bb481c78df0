"""What ``make`` calls: run the notebooks, check and compare runs, download, study, sweep."""
