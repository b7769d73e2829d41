"""The rasterizer on a GPU, in torch: `TorchRasterizer` has the interface of `rasterizer.Rasterizer`.

Every triangle that faces a camera and touches its view is tested against every pixel, in blocks, by products of small
matrices. There is no clipping, because edges are planes through the camera (M. Olano, T. Greer, "Triangle scan
conversion using 2D homogeneous coordinates", Graphics Hardware 1997). torch is imported by the constructor.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from embodia.envs.drawing.draw_kernels import (
    CORNERS,
    DENSITY,
    DOUBLE_SIDED,
    HEIGHT,
    LEVELS,
    NORMAL,
    PLANE,
    SEMANTIC,
    TEXELS,
    WIDTH,
    U,
)
from embodia.envs.drawing.drawable import Drawable, drawable
from embodia.envs.drawing.rasterizer import Rasterizer, Sensor
from embodia.envs.drawing.scene import LIGHT_ONE, Array, Scene

MOST_SCENES = 128  # maximum number of scenes cached on the device
BLOCK_VALUES = 2**27  # number of values of one block of (camera, triangle, pixel) tests


class TorchRasterizer(Rasterizer):
    """Rasterizer on a device ("cuda", "cuda:1", "cpu"); arguments, images and errors are those of `Rasterizer`."""

    def __init__(
        self,
        height: int,
        width: int,
        hfov: float = 90.0,
        near: float = 0.01,
        far: float = 1000.0,
        sensors: Sequence[Sensor] = ("rgb", "depth"),
        device: str = "cuda",
    ) -> None:
        super().__init__(height, width, hfov, near, far, sensors)
        import torch

        if device.startswith("cuda") and not torch.cuda.is_available():
            raise ValueError(f"device {device!r}: this torch finds no CUDA device; use Rasterizer, or device='cpu'.")
        self._torch = torch
        self._device = torch.device(device)
        column, row = np.meshgrid(np.arange(width) - 0.5 * (width - 1), 0.5 * (height - 1) - np.arange(height))
        rays = np.stack([column / self.focal, row / self.focal, -np.ones_like(row)]).reshape(3, -1)
        self._rays = torch.tensor(rays, dtype=torch.float32, device=self._device)  # (3, P), camera frame
        self._on_device: dict[int, tuple[Drawable, dict[str, Any]]] = {}

    def forget(self, scene: Scene) -> None:
        self._on_device.pop(id(drawable(scene).surface), None)
        super().forget(scene)

    def _draw(self, groups: list[tuple[Drawable, Array]], poses: Array, scratch: object) -> None:
        for layout, cameras in groups:
            scene = self._tensors(layout)
            pose = self._torch.tensor(poses[cameras], dtype=self._torch.float32, device=self._device)
            inverse, winner = self._nearest(scene, pose)
            self._write(scene, pose, inverse, winner, cameras)

    def _tensors(self, layout: Drawable) -> dict[str, Any]:
        """Return the layout's arrays as tensors on the device, cached."""
        known = self._on_device.get(id(layout.surface))
        if known is None:
            lanes = [(layout.light >> np.uint64(16 * k)) & np.uint64(0xFF) for k in range(3)]
            arrays = {
                "surface": layout.surface,
                "label": layout.label.astype(np.int64),
                "texels": layout.texels.astype(np.int64),
                "light": np.stack(lanes, axis=-1).astype(np.float32),
            }
            tensors = {name: self._torch.tensor(array, device=self._device) for name, array in arrays.items()}
            known = self._on_device[id(layout.surface)] = (layout, tensors)
            if len(self._on_device) > MOST_SCENES:
                self._on_device.pop(next(iter(self._on_device)))
        return known[1]

    def _nearest(self, scene: dict[str, Any], pose: Any) -> tuple[Any, Any]:
        """Return 1 / depth (n, P) of the nearest surface, and its triangle (n, P), -1 = none."""
        torch = self._torch
        count, pixels = len(pose), self.height * self.width
        edges, plane, seen = self._set_up(scene, pose)
        inverse = torch.full((count, pixels), 1 / self.far, device=self._device)
        winner = torch.full((count, pixels), -1, dtype=torch.int64, device=self._device)
        order = torch.argsort(seen.int(), dim=1, descending=True, stable=True)  # (n, F): the triangles to draw first
        most = int(seen.sum(dim=1).max())
        block = max(1, BLOCK_VALUES // (4 * count * pixels))
        for start in range(0, most, block):
            pick = order[:, start : min(start + block, most)]
            cameras = torch.arange(count, device=self._device)[:, None]
            value = plane[cameras, pick] @ self._rays  # (n, T, P)
            inside = (edges[cameras, pick] @ self._rays).amin(dim=2) >= 0  # (n, T, 3, P) over the edges
            drawn = inside & seen[cameras, pick][..., None] & (value <= 1 / self.near)
            best, which = torch.where(drawn, value, torch.zeros_like(value)).max(dim=1)
            nearer = best > inverse
            inverse = torch.where(nearer, best, inverse)
            winner = torch.where(nearer, torch.gather(pick, 1, which), winner)
        return inverse, winner

    def _set_up(self, scene: dict[str, Any], pose: Any) -> tuple[Any, Any, Any]:
        """Return edge planes (n, F, 3, 3), positive inside, 1 / depth (n, F, 3) per ray, and which triangles are in
        view.
        """
        torch = self._torch
        surface, turn, place = scene["surface"], pose[:, :3, :3], pose[:, :3, 3]
        corners = surface[:, CORNERS:NORMAL].reshape(-1, 3, 3)
        local = (corners[None] - place[:, None, None]) @ turn[:, None]  # (n, F, 3, 3), corner and camera axis
        normal = surface[:, NORMAL:PLANE] @ turn  # (n, F, 3)
        above = (surface[:, NORMAL:PLANE] @ place[..., None]).squeeze(-1) - surface[:, PLANE]
        plane = -normal / torch.where(above == 0, torch.ones_like(above), above)[..., None]
        edges = torch.linalg.cross(local[:, :, [1, 2, 0]], local)  # inside is positive for a counter-clockwise face
        edges = edges * torch.sign(above)[..., None, None]
        slopes = (0.5 * self.width / self.focal, 0.5 * self.height / self.focal)
        ahead = -local[..., 2]
        outside = (ahead < self.near).all(dim=2)
        for axis in (0, 1):
            outside |= (local[..., axis] > slopes[axis] * ahead).all(dim=2)
            outside |= (local[..., axis] < -slopes[axis] * ahead).all(dim=2)
        facing = (above > 0) | ((above < 0) & (scene["label"][:, DOUBLE_SIDED] > 0))
        return edges, plane, facing & ~outside

    def _write(self, scene: dict[str, Any], pose: Any, inverse: Any, winner: Any, cameras: Array) -> None:
        torch = self._torch
        hit, known = winner >= 0, winner.clamp(min=0)
        shape = (len(cameras), self.height, self.width, -1)
        if "depth" in self.sensors:
            depth = torch.where(hit, 1 / inverse, torch.zeros_like(inverse))
            self._images["depth"][cameras] = depth.reshape(shape).cpu().numpy()
        if "semantic" in self.sensors:
            semantic = torch.where(hit, scene["label"][known, SEMANTIC], torch.zeros_like(winner))
            self._images["semantic"][cameras] = semantic.reshape(shape).int().cpu().numpy()
        if "rgb" in self.sensors:
            colour = self._shade(scene, pose, 1 / inverse, known) * hit[..., None]
            self._images["rgb"][cameras] = colour.reshape(shape).byte().cpu().numpy()

    def _shade(self, scene: dict[str, Any], pose: Any, depth: Any, triangle: Any) -> Any:
        """Return texture times light (n, P, 3), from 0 to 255, at the depths of the pixels."""
        torch = self._torch
        surface, label = scene["surface"][triangle], scene["label"][triangle]  # (n, P, *)
        point = (pose[:, :3, :3] @ self._rays).mT * depth[..., None] + pose[:, None, :3, 3]
        u, v, s, t = (
            (surface[..., first : first + 3] * point).sum(dim=-1) + surface[..., first + 3]
            for first in range(U, DENSITY, 4)
        )
        above = (surface[..., NORMAL:PLANE] * pose[:, None, :3, 3]).sum(dim=-1) - surface[..., PLANE]
        spread = (surface[..., DENSITY] / self.focal) ** 2 / above.abs().clamp(min=1e-3) * depth**3
        level = torch.floor(torch.log2(spread.clamp(min=1e-30)) / 2).long().clamp(min=0).minimum(label[..., LEVELS])
        wide, high = label[..., WIDTH], label[..., HEIGHT]
        area = 4 * wide * high
        start = (area - (area >> 2 * level)) // 3
        column, row = (u.long() & (wide - 1)) >> level, (v.long() & (high - 1)) >> level
        texel = scene["texels"][label[..., TEXELS] + start + row * (wide >> level) + column]
        colour = torch.stack([texel & 255, texel >> 8 & 255, texel >> 16 & 255], dim=-1)
        light = scene["light"]
        s, t = s.clamp(0, light.shape[1] - 2), t.clamp(0, light.shape[0] - 2)
        i, j = t.long(), s.long()
        down, across = (t - i)[..., None], (s - j)[..., None]
        upper = light[i, j] * (1 - across) + light[i, j + 1] * across
        lower = light[i + 1, j] * (1 - across) + light[i + 1, j + 1] * across
        return (colour * (upper * (1 - down) + lower * down) / LIGHT_ONE).clamp(0, 255)
