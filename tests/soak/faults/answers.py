"""The API server, or something in between, gives wrong answers: error codes, no JSON, half an answer, none at all."""

from tests.soak.faults.catalogue import World, between, fault, number, one_of
from tests.soak.proxy import Answer, Trouble, status_answer

RBAC = (
    'pods is forbidden: User "system:serviceaccount:gpuenv-system:gpuenv-operator" cannot create resource "pods" '
    'in API group "" in the namespace "gpuenv-probes"'
)
POLICY = (
    "pods \"x\" is forbidden: ValidatingAdmissionPolicy 'soak' with binding 'soak' denied request: not now"
)
ANSWERS = {
    "400": status_answer(400, "BadRequest", "the soak test does not like this request"),
    "401": status_answer(401, "Unauthorized", "Unauthorized"),
    "403": status_answer(403, "Forbidden", RBAC),
    "403-policy": status_answer(403, "Forbidden", POLICY),
    "404": status_answer(404, "NotFound", "the server could not find the requested resource"),
    "404-plain": Answer(404, "404 page not found\n", content_type="text/plain"),
    "409": status_answer(
        409, "Conflict", "the object has been modified; please apply your changes to the latest version"
    ),
    "410": status_answer(410, "Expired", "too old resource version: 1 (2)"),
    "413": status_answer(413, "RequestEntityTooLarge", "Request entity too large: limit is 3145728"),
    "422": status_answer(422, "Invalid", "the object is invalid: the soak test says so"),
    "429": status_answer(
        429, "TooManyRequests", "too many requests, please try again later", **{"Retry-After": "1"}
    ),
    "500": status_answer(500, "InternalError", "Internal error occurred: etcdserver: request timed out"),
    "503": status_answer(503, "ServiceUnavailable", "the server is currently unable to handle the request"),
    "page": Answer(200, "<html><body>Your session has expired.</body></html>", content_type="text/html"),
    "half": Answer(200, '{"kind": "List", "apiVersion": "v1", "meta'),
    "null": Answer(200, "null"),
    "bad-gateway": Answer(502, "<html>502 Bad Gateway</html>", content_type="text/html"),
}
FOR_READS = sorted(ANSWERS.keys() - {"404", "404-plain", "400", "409", "413", "422"})
"""Answers to GETs. Nobody can tell a wrong 404 to a GET from the truth."""
FOR_WRITES = sorted(ANSWERS.keys() - {"410"})
FOR_WATCHES = sorted(ANSWERS.keys() - {"409", "413", "422", "403-policy"})


async def _spoil(world: World, trouble: Trouble, seconds: float) -> str:
    return f"{await world.proxies['one'].trouble(trouble, seconds)} requests"


async def _answered(world: World, code: str, on: str, share: float, seconds: float, seed: int) -> str:
    trouble = Trouble("answer", on=on, share=share, seed=seed, answer=ANSWERS[code])
    return await _spoil(world, trouble, seconds)


@fault(
    "answer.to-reads",
    blinds=8,
    code=one_of(*FOR_READS),
    share=one_of(0.3, 1.0),
    seconds=between(1, 6),
    seed=number,
)
async def to_reads(world: World, *, code: str, share: float, seconds: float, seed: int) -> str:
    return await _answered(world, code, "reads", share, seconds, seed)


@fault(
    "answer.to-writes",
    blinds=8,
    code=one_of(*FOR_WRITES),
    share=one_of(0.3, 1.0),
    seconds=between(1, 6),
    seed=number,
)
async def to_writes(world: World, *, code: str, share: float, seconds: float, seed: int) -> str:
    return await _answered(world, code, "writes", share, seconds, seed)


@fault("answer.to-watches", blinds=12, code=one_of(*FOR_WATCHES), seconds=between(1, 5), seed=number)
async def to_watches(world: World, *, code: str, seconds: float, seed: int) -> str:
    """Watches end, and each new one gets this answer."""
    return await _answered(world, code, "watches", 1.0, seconds, seed)


@fault(
    "answer.to-all",
    blinds=12,
    code=one_of("401", "403", "429", "500", "503", "page", "half"),
    seconds=between(1, 5),
    seed=number,
)
async def to_all(world: World, *, code: str, seconds: float, seed: int) -> str:
    """Everything gets this answer, as while an API server starts or an authentication webhook is away."""
    return await _answered(world, code, "all", 1.0, seconds, seed)


@fault(
    "answer.lost",
    blinds=8,
    on=one_of("writes", "plain"),
    share=one_of(0.2, 0.6),
    seconds=between(2, 8),
    seed=number,
)
async def lost(world: World, *, on: str, share: float, seconds: float, seed: int) -> str:
    """What was asked for is done, and the answer does not arrive."""
    return await _spoil(world, Trouble("lose", on=on, share=share, seed=seed), seconds)


@fault(
    "answer.cut",
    blinds=8,
    on=one_of("plain", "reads"),
    share=one_of(0.2, 0.6),
    seconds=between(2, 8),
    seed=number,
)
async def cut(world: World, *, on: str, share: float, seconds: float, seed: int) -> str:
    """Answers end in the middle."""
    return await _spoil(world, Trouble("cut", on=on, share=share, seed=seed), seconds)
