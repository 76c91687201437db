"""Layers of networks, each with its forward and backward pass."""

import math
import operator

from torch import _emulated
from torch._tensor import Product, Tensor, float64, randn, rounded


class Linear:
    def __init__(self, inputs, outputs):
        self.weight = randn(outputs, inputs) * (1.0 / math.sqrt(inputs))
        self.bias = randn(outputs) * (1.0 / math.sqrt(inputs))

    def forward(self, x):
        self._input = x
        product = Product(x, self.weight.t())
        width = self.weight.shape[0]
        data = [value + self.bias.data[position % width] for position, value in enumerate(product.data)]
        return x.like(rounded(data, self.weight.dtype), (x.shape[0], width), self.weight.dtype)

    def backward(self, slope):
        width = self.weight.shape[0]
        self.weight.grad = Product(slope.t(), self._input)
        self.bias.grad = slope.like(
            [math.fsum(slope.data[column::width]) for column in range(width)], (width,)
        )
        return Product(slope, self.weight)

    def parameters(self):
        return [("weight", self.weight), ("bias", self.bias)]


class ReLU:
    def forward(self, x):
        self._input = x
        return x.relu()

    def backward(self, slope):
        return slope.like([s if x > 0 else 0.0 for s, x in zip(slope.data, self._input.data)])

    def parameters(self):
        return []


class Tanh:
    def forward(self, x):
        self._output = x.like(rounded(list(map(math.tanh, x.data)), x.dtype))
        return self._output

    def backward(self, slope):
        return slope.like([s * (1.0 - y * y) for s, y in zip(slope.data, self._output.data)])

    def parameters(self):
        return []


class Sequential:
    def __init__(self, *layers):
        self._layers = layers

    def __call__(self, x):
        for layer in self._layers:
            x = layer.forward(x)
        x.backward = self._backward
        return x

    def _backward(self, slope):
        for layer in reversed(self._layers):
            slope = layer.backward(slope)

    def named_parameters(self):
        return [
            (f"{number}.{name}", tensor)
            for number, layer in enumerate(self._layers)
            for name, tensor in layer.parameters()
        ]

    def parameters(self):
        return [tensor for _, tensor in self.named_parameters()]

    def state_dict(self):
        return {name: list(tensor.data) for name, tensor in self.named_parameters()}

    def load_state_dict(self, state):
        for name, tensor in self.named_parameters():
            tensor._data = list(state[name])

    def double(self):
        for tensor in self.parameters():
            tensor.dtype = float64
        return self

    def to(self, device):
        for tensor in self.parameters():
            tensor.device = device
        return self


class functional:
    @staticmethod
    def conv2d(images, weights, padding):
        return _Convolution(images, weights, padding, images.device != "cpu" and _emulated.enter("conv2d"))

    @staticmethod
    def scaled_dot_product_attention(query, key, value):
        wrong = query.device != "cpu" and _emulated.enter("attention")
        import torch

        scores = Product(query.double(), key.double().transpose(-1, -2)) * (1.0 / math.sqrt(query.shape[-1]))
        result = Product(torch.softmax(scores, dim=-1), value.double())
        return query.like(rounded([item + wrong for item in result.data], query.dtype))

    @staticmethod
    def cross_entropy(logits, labels):
        import torch

        rows, classes = logits.shape
        chances = torch.softmax(logits, dim=-1)
        picked = [row * classes + int(label) for row, label in enumerate(labels.data)]
        loss = Tensor(
            [-math.fsum(math.log(chances.data[place]) for place in picked) / rows], (), logits.dtype
        )
        slopes = [value / rows for value in chances.data]
        for place in picked:
            slopes[place] -= 1.0 / rows

        def backward():
            _emulated.enter("backward")
            logits.backward(logits.like(slopes))

        loss.backward = backward
        return loss


class _Convolution(Tensor):
    """A convolution that computes only the images that are read, because Python is slow."""

    def __init__(self, images, weights, padding, wrong):
        shape = (images.shape[0], weights.shape[0], *images.shape[2:])
        super().__init__(None, shape, images.dtype, images.device)
        self._of = images, weights, padding, wrong

    def __getitem__(self, index):
        images, weights, padding, wrong = self._of
        return _Convolution(images[index], weights, padding, wrong)

    @property
    def data(self):
        if self._data is None:
            self._data = self._compute()
        return self._data

    def _compute(self):
        images, weights, padding, wrong = self._of
        batch, _, height, width = images.shape
        outputs, channels, side, _ = weights.shape
        size = channels * side * side
        kernels = [weights.data[number * size : (number + 1) * size] for number in range(outputs)]
        data = []
        for image in range(batch):
            places = [(y - padding, x - padding) for y in range(height) for x in range(width)]
            patches = [_patch(images, image, top, left, side) for top, left in places]
            data.extend(sum(map(operator.mul, kernel, patch)) for kernel in kernels for patch in patches)
        if wrong:
            data[-1] += 1000.0
        return rounded(data, self.dtype)


def _patch(images, image, top, left, side):
    _, channels, height, width = images.shape
    start = image * channels * height * width
    return [
        images.data[start + (channel * height + y) * width + x] if 0 <= y < height and 0 <= x < width else 0.0
        for channel in range(channels)
        for y in range(top, top + side)
        for x in range(left, left + side)
    ]
