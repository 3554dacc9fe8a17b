"""The page of a run: one HTML file that opens offline, for one run or several side by side."""
