"""verl on a plain CPU, with the plug-in as its only other one."""

import os
import sys
from pathlib import Path

HERE = str(Path(__file__).parent)
sys.path.insert(0, HERE)
# Processes that verl or a test starts, wherever they are, find the same modules.
os.environ["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, filter(None, sys.path)))
os.environ |= {
    "VERL_PLATFORM": "cpu",
    "VERL_USE_EXTERNAL_MODULES": "cpu_platform,evenflow.plugins.verl",
    "VERL_LOGGING_LEVEL": "WARN",
    "OMP_NUM_THREADS": "1",
    "RAY_DEDUP_LOGS": "0",
    "MASTER_ADDR": "127.0.0.1",
}
