"""GRUN as plain PyTorch hooks, written from the equations of the paper, as a reference for the implementation in `src`.

h' = h + g(h) R^T (W h + b - R h) at the last prompt token; L = L_forget + lambda_r L_retain + lambda_g L_gate (arXiv 2502.17823).
"""

import torch
from torch.nn.functional import linear, log_softmax, logsigmoid, softplus


class PlainGrun:
    """Edits at `blocks` of a Llama; `parts[block]` holds R (rank, hidden), W, b and the gate's v (1, hidden) and c."""

    def __init__(self, model, parts):
        self.model, self.parts, self.on, self.last = model, parts, True, 0
        self.gates, self.outputs = {}, {}
        for block in parts:
            model.model.layers[block].register_forward_hook(lambda _module, _args, output, block=block: self.edit(block, output))

    def edit(self, block, output):
        if self.on:
            part, h = self.parts[block], output[:, self.last]
            self.gates[block] = linear(h, part["v"], part["c"])[:, 0]
            change = (linear(h, part["W"], part["b"]) - h @ part["R"].T) @ part["R"]
            edited = h + self.gates[block].sigmoid()[:, None] * change
            output = torch.cat([output[:, : self.last], edited[:, None], output[:, self.last + 1 :]], dim=1)
        self.outputs[block] = output
        return output

    def forward(self, batch, on=True):
        """Return the summed NLL and number of answer tokens, (rows,) each; gates and block outputs stay in their attributes."""
        self.on, self.last = on, batch.prompt_length - 1
        positions = (batch.attention_mask.cumsum(-1) - 1).clamp(min=0)
        logits = self.model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, position_ids=positions).logits
        log_likelihood = log_softmax(logits[:, self.last : -1], -1).gather(-1, batch.input_ids[:, self.last + 1 :, None])[..., 0]
        given = batch.attention_mask[:, self.last + 1 :]
        return -(log_likelihood * given).sum(-1), given.sum(-1)

    def states(self, batch):
        """Return the states of each edited block, (rows, answer length, hidden), where the answer's tokens are predicted."""
        return [self.outputs[block][:, self.last : -1] for block in self.parts]


def distance(states, targets, batch):
    """Return the squared distance, mean over the hidden size, the answer's tokens, the rows and the blocks."""
    given = batch.attention_mask[:, batch.prompt_length :]
    by_token = torch.stack([(h - target).square().mean(-1) * given for h, target in zip(states, targets, strict=True)])
    return (by_token.sum(-1) / given.sum(-1)).mean()


def losses(grun, objective, inputs):
    """Return the forget, retain and gate term of one step."""
    forget, retain = inputs[objective.answer], inputs["retain"]
    reference, _ = grun.forward(forget, on=False)
    nll, tokens = grun.forward(forget)
    opened = torch.stack(list(grun.gates.values()))
    match objective.name:
        case "grad_diff":
            forget_loss = -(nll / tokens).mean()
        case "idk":
            forget_loss = (nll / tokens).mean()
        case "npo":
            forget_loss = -(2 / 0.1) * logsigmoid(0.1 * (nll - reference.detach())).mean()
        case "rmu":
            u = torch.rand(grun.model.config.hidden_size, generator=torch.Generator().manual_seed(42), dtype=torch.float64)
            states = grun.states(forget)
            forget_loss = distance(states, [(300 * u / u.norm()).float()] * len(states), forget)
    if objective.name == "rmu":
        grun.forward(retain, on=False)
        targets = [h.detach() for h in grun.states(retain)]
        grun.forward(retain)
        retain_loss = distance(grun.states(retain), targets, retain)
    else:
        nll, tokens = grun.forward(retain)
        retain_loss = (nll / tokens).mean()
    closed = torch.stack(list(grun.gates.values()))
    gate_loss = torch.cat([softplus(-opened), softplus(closed)], dim=1).mean()
    return forget_loss, retain_loss, gate_loss


def train(grun, objective, steps, lr=4e-3):
    """AdamW, linear decay to 0, gradient norm clipped at 1, R's rows made orthonormal again after each step."""
    trained = [tensor for part in grun.parts.values() for tensor in part.values()]
    optimizer = torch.optim.AdamW(trained, lr=lr, weight_decay=0.0)
    logged = []
    for step, inputs in enumerate(steps):
        forget, retain, gate = losses(grun, objective, inputs)
        (objective.gamma * forget + objective.lambda_r * retain + objective.lambda_g * gate).backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.param_groups[0]["lr"] = lr * (1 - step / len(steps))
        optimizer.step()
        optimizer.zero_grad()
        for part in grun.parts.values():
            q, r = torch.linalg.qr(part["R"].detach().T)
            part["R"].data = (q * r.diagonal().sign()).T
        logged.append({"forget": forget.item(), "retain": retain.item(), "gate": gate.item()})
    return logged
