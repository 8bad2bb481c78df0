"""Self-supervised learning by a student and a teacher (DINO, Caron et al. 2021).

Written from the paper. The student learns to say about one view what the teacher says about
another; the teacher is the student's moving average. Two routes use it: pictures (a small vision
transformer, crops) and brain patterns (an MLP, repeats of an image).
"""

from .distillation import (
    cosine_schedule,
    dino_loss,
    entropy,
    kl_divergence,
    learning_rate,
    teacher_probabilities,
    updated_centre,
)
from .networks import Head, Learner, TinyViT, VoxelMLP
from .on_patterns import METHODS, VoxelData, VoxelSettings, compare, representations, train_voxels
from .on_pictures import (
    ImageSettings,
    LabelledPictures,
    as_tensor,
    fixed_views,
    knn_accuracy,
    snapshot,
    train_images,
)
from .probes import chance, cluster_labels, features_of, knn_hits, label_subsets, probe
from .recipes import collapse_settings, live_settings, pictures_for, summarise, voxel_settings
from .student_teacher import DinoSettings, StudentTeacher, collapse_measures, train
from .teacher_files import load_teacher, save_teacher, shown_training
from .views import RepeatSampler, Views, jitter_colours, multi_crop, random_crops

__all__ = [
    "METHODS",
    "DinoSettings",
    "Head",
    "ImageSettings",
    "LabelledPictures",
    "Learner",
    "RepeatSampler",
    "StudentTeacher",
    "TinyViT",
    "Views",
    "VoxelData",
    "VoxelMLP",
    "VoxelSettings",
    "as_tensor",
    "chance",
    "cluster_labels",
    "collapse_measures",
    "collapse_settings",
    "compare",
    "cosine_schedule",
    "dino_loss",
    "entropy",
    "features_of",
    "fixed_views",
    "jitter_colours",
    "kl_divergence",
    "knn_accuracy",
    "knn_hits",
    "label_subsets",
    "learning_rate",
    "live_settings",
    "load_teacher",
    "multi_crop",
    "pictures_for",
    "probe",
    "random_crops",
    "representations",
    "save_teacher",
    "shown_training",
    "snapshot",
    "summarise",
    "teacher_probabilities",
    "train",
    "train_images",
    "train_voxels",
    "updated_centre",
    "voxel_settings",
]
