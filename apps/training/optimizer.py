"""Muon for the matrices inside blocks, AdamW for the embedding and the norms."""

import torch


def orthogonalize(batch, steps=5):
    """The nearest semi-orthogonal matrices (roughly) to `batch` `[N, R, C]`: a quintic Newton-Schulz iteration in bfloat16."""
    x = batch.bfloat16()
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.mT
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = 3.4445 * x + torch.baddbmm(gram, gram, gram, beta=-4.7750, alpha=2.0315) @ x
    return (x.mT if tall else x).float()


class Muon:
    """Momentum whose update is orthogonalised; the update's root mean square is 0.2, like Adam's, so one rate fits both.

    Matrices of one shape are stacked and stepped together.
    """

    def __init__(self, parameters, momentum=0.95, decay=0.05):
        self.momentum, self.decay = momentum, decay
        shapes = {}
        for parameter in parameters:
            shapes.setdefault(tuple(parameter.shape), []).append(parameter)
        self.groups = [(group, torch.zeros_like(torch.stack([p.data for p in group]))) for group in shapes.values()]

    @torch.no_grad()
    def step(self, rate):
        for group, buffer in self.groups:
            gradient = torch.stack([parameter.grad for parameter in group])
            buffer.lerp_(gradient, 1 - self.momentum)
            update = orthogonalize(gradient.lerp(buffer, self.momentum))
            masters = [parameter.data for parameter in group]
            torch._foreach_mul_(masters, 1 - rate * self.decay)
            size = 0.2 * max(group[0].shape) ** 0.5
            torch._foreach_add_(masters, list(update.unbind()), alpha=-rate * size)


class Optimizer:
    """Both halves behind one `step(scale)`, where `scale` is the schedule's factor in 0..1."""

    def __init__(self, model, matrix_rate, vector_rate):
        inner = [parameter for parameter in model.model.layers.parameters() if parameter.ndim == 2]
        chosen = {id(parameter) for parameter in inner}
        rest = [parameter for parameter in model.parameters() if id(parameter) not in chosen]
        self.parameters = [*inner, *rest]
        self.matrix_rate, self.vector_rate = matrix_rate, vector_rate
        self.muon = Muon(inner)
        fused = rest[0].is_cuda
        self.adam = torch.optim.AdamW(rest, lr=vector_rate, betas=(0.9, 0.95), weight_decay=0.0, fused=fused)
        for parameter in self.parameters:
            parameter.grad = torch.zeros_like(parameter)

    def step(self, scale):
        self.adam.param_groups[0]['lr'] = self.vector_rate * scale
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0, foreach=True)
        self.adam.step()
        self.muon.step(self.matrix_rate * scale)
        torch._foreach_zero_([parameter.grad for parameter in self.parameters])
