"""Steps of an optimizer.

In PyTorch's functional forms: its optimizers load the compiler as they are made, which
costs a job two seconds.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.sgd import sgd

from whatelse.training.settings import Adam, TrainingSettings


class Descent:
    """Tensors in training, each with what the optimizer remembers of it.

    Weight decay is the L2 penalty's slope: twice its weight. A step waits for nothing
    on the device and reads and writes the same memory each time.
    """

    def __init__(self, settings: TrainingSettings, tensors: Sequence[Tensor]) -> None:
        self._optimizer = settings.optimizer
        self._decay = 2 * settings.l2
        adaptive = isinstance(self._optimizer, Adam)
        remembers = isinstance(self._optimizer, Adam) or self._optimizer.momentum > 0
        self._kept = [
            (
                tensor,
                torch.zeros_like(tensor) if remembers else None,
                torch.zeros_like(tensor) if adaptive else None,
                torch.zeros((), device=tensor.device) if adaptive else None,
            )
            for tensor in tensors
        ]

    def step(
        self, gradients: Sequence[Tensor], rate: float | Tensor,
        active: Sequence[int] | None = None,
    ) -> None:  # fmt: skip
        """Move tensors against their gradients.

        Parameters
        ----------
        gradients : sequence of Tensor
            Of all tensors.
        rate : float or Tensor
            Learning rate; a tensor on the device if the step is captured.
        active : sequence of int, optional
            Tensors that are moved; all if left out.
        """
        chosen = range(len(self._kept)) if active is None else active
        values, first, second, steps = zip(
            *(self._kept[i] for i in chosen), strict=True
        )
        slopes = [gradients[i] for i in chosen]
        with torch.no_grad():
            if isinstance(self._optimizer, Adam):
                adam(
                    [*values],
                    slopes,
                    [*first],
                    [*second],
                    [],
                    [*steps],
                    fused=True,
                    amsgrad=False,
                    beta1=0.9,
                    beta2=0.999,
                    lr=rate,
                    weight_decay=self._decay,
                    eps=1e-8,
                    maximize=False,
                )
            else:
                # A buffer of zeros equals PyTorch's "first step copies the
                # gradient" because dampening is zero.
                sgd(
                    [*values],
                    slopes,
                    [*first],
                    fused=True,
                    weight_decay=self._decay,
                    momentum=self._optimizer.momentum,
                    lr=rate,  # type: ignore[arg-type]  # tensors too, as torch.optim.SGD
                    dampening=0.0,
                    nesterov=self._optimizer.nesterov,
                    maximize=False,
                )
