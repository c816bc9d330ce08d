"""Videos: frames in, faces followed from frame to frame, frames out, one at a time."""

from farl_hf.video.face_following import TrackedFrame, track_faces
from farl_hf.video.frame_reading import VideoFile, VideoFrame
from farl_hf.video.one_euro_filter import OneEuroFilter, OneEuroSettings

__all__ = ["OneEuroFilter", "OneEuroSettings", "TrackedFrame", "VideoFile", "VideoFrame", "track_faces"]
