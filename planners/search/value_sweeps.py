"""Sweeps of value iteration on maps, v <- max_q (reward_q + kernel_q * v), compiled for CPUs.

The kernels hold the maps of a batch side by side in the last axis, so that a sweep is vector arithmetic over maps. They
keep which channel won in each cell. The backward pass follows these channels alone, which is a tenth of the work of
differentiating all convolutions.
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from embodia.envs.compiled import compiled, inlined


def sweep(reward: Tensor, kernel: Tensor, iterations: int) -> Tensor:
    """Return the values (B, D, H, W) after sweeps of value iteration from v = 0; beyond the map v = 0.

    Channel q of Q = D * C belongs to value map q // C: v_d is the maximum over its C channels.

    Args:
        reward: (L, B, Q, H, W), for each sweep (L = iterations) or for all (L = 1).
        kernel: (L, Q, D, 3, 3), likewise.
        iterations: Number of sweeps.
    """
    if reward.device.type == "cpu" and reward.dtype == torch.float32:
        values: Tensor = CompiledSweeps.apply(reward, kernel, iterations)
        return values
    value = torch.zeros_like(reward[0, :, : kernel.shape[2]])
    for i in range(iterations):
        value = backup(reward[i % len(reward)], kernel[i % len(kernel)], value)
    return value


def backup(reward: Tensor, kernel: Tensor, value: Tensor) -> Tensor:
    """Return the values (B, D, H, W) after one sweep; reward (B, Q, H, W), kernel (Q, D, 3, 3), value (B, D, H, W)."""
    q = reward + F.conv2d(value, kernel, padding=1)
    return q.unflatten(1, (value.shape[1], -1)).amax(2)


class CompiledSweeps(torch.autograd.Function):
    """`sweep` on a CPU in float32."""

    @staticmethod
    def forward(ctx: Any, reward: Tensor, kernel: Tensor, iterations: int) -> Tensor:
        sets, batch, channels, height, width = reward.shape
        maps = kernel.shape[2]
        values = np.zeros((iterations + 1, maps, height + 2, width + 2, batch), np.float32)
        winners = np.empty((iterations, maps, height, width, batch), np.uint8)
        weights = kernel.detach().contiguous().numpy()
        inner = reward.detach().permute(0, 2, 3, 4, 1).contiguous().numpy()
        forward_sweeps(inner, weights, values, winners)
        ctx.save_for_backward(kernel)
        ctx.kept = values, winners, (sets, channels, height, width, batch)
        return torch.from_numpy(values[-1, :, 1:-1, 1:-1]).permute(3, 0, 1, 2).contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        values, winners, shape = ctx.kept
        (kernel,) = ctx.saved_tensors
        weights = kernel.detach().contiguous().numpy()
        to_reward, to_kernel = np.zeros(shape, np.float32), np.zeros_like(weights)
        outer = np.zeros(values.shape[1:], np.float32)
        outer[:, 1:-1, 1:-1] = gradient.permute(1, 2, 3, 0).numpy()
        backward_sweeps(weights, values, winners, outer, to_reward, to_kernel)
        return torch.from_numpy(to_reward).permute(0, 4, 1, 2, 3), torch.from_numpy(to_kernel), None


@compiled
def forward_sweeps(reward: Any, kernel: Any, values: Any, winners: Any) -> None:
    """Fill values (K + 1, D, H + 2, W + 2, B) from values[0], and winners (K, D, H, W, B): channels within D.

    reward is (L, Q, H, W, B) and kernel (L, Q, D, 3, 3).
    """
    iterations, maps, height, width, batch = winners.shape
    group = reward.shape[1] // maps
    q, best, winner = np.empty(batch, np.float32), np.empty(batch, np.float32), np.empty(batch, np.int32)
    around = np.empty((maps * 9, batch), np.float32)
    for k in range(iterations):
        r, w = k % len(reward), k % len(kernel)
        for y in range(height):
            for x in range(width):
                for t in range(9 * maps):
                    for b in range(batch):
                        around[t, b] = values[k, t // 9, y + t % 9 // 3, x + t % 3, b]
                for d in range(maps):
                    for c in range(group):
                        channel = d * group + c
                        for b in range(batch):
                            q[b] = reward[r, channel, y, x, b]
                        for e in range(maps):
                            add_products(q, kernel, w, channel, e, around)
                        for b in range(batch):
                            won = c == 0 or q[b] > best[b]
                            winner[b] = c if won else winner[b]
                            best[b] = q[b] if won else best[b]
                    for b in range(batch):
                        values[k + 1, d, y + 1, x + 1, b] = best[b]
                        winners[k, d, y, x, b] = winner[b]


@inlined
def add_products(q: Any, kernel: Any, w: int, channel: int, e: int, around: Any) -> None:
    """Add w (9,) times around (9, B) to q (B,)."""
    w0, w1, w2 = kernel[w, channel, e, 0, 0], kernel[w, channel, e, 0, 1], kernel[w, channel, e, 0, 2]
    w3, w4, w5 = kernel[w, channel, e, 1, 0], kernel[w, channel, e, 1, 1], kernel[w, channel, e, 1, 2]
    w6, w7, w8 = kernel[w, channel, e, 2, 0], kernel[w, channel, e, 2, 1], kernel[w, channel, e, 2, 2]
    t = 9 * e
    for b in range(len(q)):
        upper = w0 * around[t, b] + w1 * around[t + 1, b] + w2 * around[t + 2, b]
        middle = w3 * around[t + 3, b] + w4 * around[t + 4, b] + w5 * around[t + 5, b]
        lower = w6 * around[t + 6, b] + w7 * around[t + 7, b] + w8 * around[t + 8, b]
        q[b] += upper + middle + lower


@compiled
def backward_sweeps(kernel: Any, values: Any, winners: Any, outer: Any, to_reward: Any, to_kernel: Any) -> None:
    """Add the gradients of reward and kernel, given that of the last values, outer (D, H + 2, W + 2, B)."""
    iterations, maps, height, width, batch = winners.shape
    group = kernel.shape[1] // maps
    for k in range(iterations - 1, -1, -1):
        w, to_w, to_r = kernel[k % len(kernel)], to_kernel[k % len(kernel)], to_reward[k % len(to_reward)]
        inner = np.zeros_like(outer)
        for d in range(maps):
            for y in range(height):
                for x in range(width):
                    for b in range(batch):
                        g = outer[d, y + 1, x + 1, b]
                        channel = d * group + winners[k, d, y, x, b]
                        to_r[channel, y, x, b] += g
                        for e in range(maps):
                            for i in range(3):
                                for j in range(3):
                                    inner[e, y + i, x + j, b] += g * w[channel, e, i, j]
                                    to_w[channel, e, i, j] += g * values[k, e, y + i, x + j, b]
        outer = inner
