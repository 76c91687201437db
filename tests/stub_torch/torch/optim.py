from torch._tensor import rounded


class SGD:
    def __init__(self, parameters, lr):
        self._parameters = list(parameters)
        self._rate = lr

    def zero_grad(self):
        for parameter in self._parameters:
            parameter.grad = None

    def step(self):
        for parameter in self._parameters:
            moved = [value - self._rate * slope for value, slope in zip(parameter.data, parameter.grad.data)]
            parameter._data = rounded(moved, parameter.dtype)
