"""Read BOLD5000, Release 2.0: a second data set, which anybody may have.

Four people looked at almost 5,000 photographs (Chang et al., 2019, Scientific Data 6:49). Release
2.0 gives their betas by GLMsingle (Prince et al., 2022, eLife 11:e77599), here those of five visual
areas. Files are found by name, anywhere below the folder that the user gives, also inside of zip
archives. What is assumed of them is checked when they are read first, because we have seen the
files of events and the masks of areas, but not the betas and the pictures.
"""

from .area_files import AREAS, SIDES, published_mask
from .event_trials import RUNS, event_name
from .subject import open_bold5000
