"""Self-supervised learning by a student and a teacher (DINO, Caron et al. 2021).

Written from the paper. The student learns to say about one view what the teacher says about
another; the teacher is the student's moving average. Two routes use it: pictures (a small vision
transformer, crops) and brain patterns (an MLP, repeats of an image).
"""

from .on_patterns import METHODS, N_OUTPUTS, VoxelData, compare, representations, train_patterns
from .on_pictures import ImageSettings, LabelledPictures, as_tensor, train_images
from .probes import edge_histograms, features_of, knn_hits
from .recipes import (
    collapse_settings,
    difference_table,
    live_settings,
    pictures_for,
    summarise,
    voxel_settings,
)
from .student_teacher import DinoSettings
from .teacher_files import load_teacher
from .views import multi_crop
