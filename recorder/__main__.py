"""python -m recorder"""

from recorder.service import main
from runtime.service import run

run("recorder", main)
