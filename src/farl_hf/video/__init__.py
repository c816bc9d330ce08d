"""Videos: frames in, faces followed from frame to frame, frames out, one at a time."""

from farl_hf.video.face_following import TrackedFrame, track_faces
from farl_hf.video.face_state import OneEuroFilter, OneEuroSettings
from farl_hf.video.video_files import VideoFile, VideoFrame

__all__ = ["OneEuroFilter", "OneEuroSettings", "TrackedFrame", "VideoFile", "VideoFrame", "track_faces"]
