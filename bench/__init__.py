"""Speed and memory, measured: `python -m bench --accounts 100000`."""
