"""The camera: rotates a head and projects it into continuous pixel coordinates.

Convention: head frame in centimetres, x to the right of the picture (frontal view), y down, z towards the viewer,
origin between the eyes on the axis of the head. Pixels are continuous, the first pixel centre is (0.5, 0.5).
"""

from dataclasses import dataclass

import numpy as np

__all__ = ["Camera", "make_rotation"]


def make_rotation(yaw_rad: float, pitch_rad: float, roll_rad: float) -> np.ndarray:
    """Rotation matrix (3, 3) float32: yaw about y, then pitch about x, then roll about z."""
    cy, sy = np.cos(yaw_rad), np.sin(yaw_rad)
    cp, sp = np.cos(pitch_rad), np.sin(pitch_rad)
    cr, sr = np.cos(roll_rad), np.sin(roll_rad)
    yaw = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    pitch = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
    roll = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return (roll @ pitch @ yaw).astype(np.float32)


@dataclass(frozen=True)
class Camera:
    """Weak perspective with a touch of foreshortening.

    Args:
        rotation (`np.ndarray`): (3, 3), camera-aligned from head axes.
        centre_xy (`tuple`): where the head's origin lands, in pixels.
        pixels_per_cm (`float`): scale at the depth of the origin.
        distance_cm (`float`): distance of the viewer; smaller means stronger perspective.
    """

    rotation: np.ndarray
    centre_xy: tuple[float, float]
    pixels_per_cm: float
    distance_cm: float = 90.0

    def turn(self, points: np.ndarray) -> np.ndarray:
        """Head-frame points (..., 3) to camera-aligned centimetres (..., 3)."""
        return points @ self.rotation.T

    def turn_grid(self, grid: np.ndarray) -> np.ndarray:
        """Head-frame vertices (rows, columns, 3) to planes (3, rows, columns) in camera-aligned centimetres."""
        return (self.rotation @ grid.reshape(-1, 3).T).reshape(3, *grid.shape[:2])

    def project_grid(self, planes: np.ndarray) -> np.ndarray:
        """`project` for planes (3, rows, columns)."""
        out = np.empty_like(planes)
        factor = np.float32(self.pixels_per_cm) / (np.float32(1) - planes[2] * np.float32(1 / self.distance_cm))
        np.multiply(planes[:2], factor, out=out[:2])
        out[0] += np.float32(self.centre_xy[0])
        out[1] += np.float32(self.centre_xy[1])
        out[2] = planes[2]
        return out

    def project(self, points_camera: np.ndarray) -> np.ndarray:
        """Camera-aligned centimetres (..., 3) to (x pixel, y pixel, depth cm towards the viewer)."""
        out = np.empty_like(points_camera)
        factor = self.pixels_per_cm / (1.0 - points_camera[..., 2] / self.distance_cm)
        out[..., 0] = points_camera[..., 0] * factor + self.centre_xy[0]
        out[..., 1] = points_camera[..., 1] * factor + self.centre_xy[1]
        out[..., 2] = points_camera[..., 2]
        return out

    def rescaled(self, factor: float, origin_xy: tuple[float, float]) -> "Camera":
        """The same view in a window that starts at `origin_xy` and is enlarged by `factor`."""
        centre = ((self.centre_xy[0] - origin_xy[0]) * factor, (self.centre_xy[1] - origin_xy[1]) * factor)
        return Camera(self.rotation, centre, self.pixels_per_cm * factor, self.distance_cm)
