"""What every run needs: its folder, files, lock, console, metrics, and a way to be interrupted."""
