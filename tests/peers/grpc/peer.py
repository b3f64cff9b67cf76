"""The service `interop.Echo` by grpcio, and a client of it: `serve [CERT KEY]` prints its port; `client HOST:PORT [CA NAME
[CERT KEY]]` checks all of it and ends with 0. With files, both speak TLS. See tonic_origin.rs for what the methods do."""

import sys
import threading
import time
from concurrent import futures

import grpc

SIZE_MAX = 64 << 20
OPTIONS = [
    ("grpc.max_receive_message_length", SIZE_MAX),
    ("grpc.max_send_message_length", SIZE_MAX),
    ("grpc.max_metadata_size", 64 << 10),
    # A client of grpcio shares connections between channels otherwise.
    ("grpc.use_local_subchannel_pool", 1),
]
PATIENCE = 20
given_up = 0
lock = threading.Lock()


def numbered(number, size):
    return bytes((number + index) % 251 for index in range(size)) if size < 4096 else \
        (bytes((number + index) % 251 for index in range(251)) * (size // 251 + 1))[:size]


def count_given_up():
    global given_up
    with lock:
        given_up += 1


def answer_fields(context):
    fields = [(key, value) for key, value in context.invocation_metadata() if key.startswith("x-")]
    context.send_initial_metadata(fields)


def unary(request, context):
    words = request.split(b" ", 2)
    if words[0] == b"fail":
        context.set_trailing_metadata([("x-trailer", "with the status")])
        code = next(code for code in grpc.StatusCode if code.value[0] == int(words[1]))
        context.abort(code, words[2].decode())
    if request == b"hang":
        ended = threading.Event()
        # Refused when the call has ended already.
        if context.add_callback(ended.set):
            ended.wait()
        count_given_up()
        return b""
    answer_fields(context)
    if request == b"timeout":
        # grpcio hides the field and tells what is left of it.
        left = context.time_remaining()
        return b"" if left is None else b"%dm" % (left * 1000)
    if request == b"cancelled":
        return b"%d" % given_up
    return request


def down(request, context):
    answer_fields(context)
    if request == b"endless":
        # The generator of a call that was given up is often just dropped.
        try:
            while context.is_active():
                yield b"tick"
                time.sleep(0.005)
        finally:
            count_given_up()
        return
    count, size = map(int, request.split())
    for number in range(count):
        yield numbered(number, size)


def up(requests, context):
    count = size = 0
    for message in requests:
        count += 1
        size += len(message)
    return b"%d %d" % (count, size)


def both(requests, context):
    yield from requests


def content(path):
    with open(path, "rb") as file:
        return file.read()


def serve(cert=None, key=None):
    server = grpc.server(futures.ThreadPoolExecutor(16), options=OPTIONS)
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("interop.Echo", {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Down": grpc.unary_stream_rpc_method_handler(down),
        "Up": grpc.stream_unary_rpc_method_handler(up),
        "Both": grpc.stream_stream_rpc_method_handler(both),
    })])
    if cert is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        credentials = grpc.ssl_server_credentials([(content(key), content(cert))])
        port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    print(port, flush=True)
    sys.stdin.read()
    server.stop(0)


def connect(target, ca=None, name=None, cert=None, key=None):
    if ca is None:
        return grpc.insecure_channel(target, options=OPTIONS)
    mine = (content(key), content(cert)) if cert else (None, None)
    credentials = grpc.ssl_channel_credentials(content(ca), *mine)
    return grpc.secure_channel(target, credentials, options=OPTIONS + [("grpc.ssl_target_name_override", name)])


def client(target, *tls):
    channel = connect(target, *tls)
    ask = channel.unary_unary("/interop.Echo/Unary")
    ask_down = channel.unary_stream("/interop.Echo/Down")
    every_kind_of_call(channel, ask, ask_down)
    large_messages(ask)
    much_metadata(ask)
    statuses_and_messages(ask)
    deadlines(ask)
    cancellation(ask, ask_down)
    print("all is well")


def every_kind_of_call(channel, ask, ask_down):
    for size in [0, 1, 100, 20_000, 300_000]:
        assert ask(numbered(7, size), timeout=PATIENCE) == numbered(7, size), size
    assert list(ask_down(b"300 777", timeout=PATIENCE)) == [numbered(number, 777) for number in range(300)]
    total = channel.stream_unary("/interop.Echo/Up")(
        (numbered(number, 999) for number in range(200)), timeout=PATIENCE)
    assert total == b"200 199800", total
    # In turn: each is sent when the one before has come back.
    back = threading.Semaphore(1)

    def messages():
        for number in range(50):
            back.acquire()
            yield numbered(number, 50)

    number = 0
    for message in channel.stream_stream("/interop.Echo/Both")(messages(), timeout=PATIENCE):
        assert message == numbered(number, 50), number
        number += 1
        back.release()
    assert number == 50, number


def large_messages(ask):
    large = numbered(1, 6 << 20)
    assert ask(large, timeout=PATIENCE) == large


def much_metadata(ask):
    fields = [("x-field-%d" % number, "value %d" % number) for number in range(60)]
    fields += [("x-bytes-bin", bytes([0, 10, 13, 255, 0])), ("x-long", "l" * 4000)]
    _, call = ask.with_call(b"m", metadata=fields, timeout=PATIENCE)
    seen = dict(call.initial_metadata())
    for name, value in fields:
        assert seen.get(name) == value, (name, seen.get(name))


def statuses_and_messages(ask):
    for code in grpc.StatusCode:
        if code is grpc.StatusCode.OK:
            continue
        text = "weil äöü % 100 %25"
        try:
            ask(("fail %d %s" % (code.value[0], text)).encode(), timeout=PATIENCE)
            raise AssertionError("no status")
        except grpc.RpcError as error:
            assert error.code() == code, (error.code(), code)
            assert error.details() == text, error.details()
            assert ("x-trailer", "with the status") in error.trailing_metadata(), error.trailing_metadata()


def deadlines(ask):
    before = ask(b"cancelled", timeout=PATIENCE)
    left = ask(b"timeout", timeout=5)
    unit = {b"H": 3600, b"M": 60, b"S": 1, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}[left[-1:]]
    # grpcio rounds what it sends up by at most a hundredth.
    assert 3 < int(left[:-1]) * unit <= 5.05, left
    start = time.monotonic()
    try:
        ask(b"hang", timeout=0.3)
        raise AssertionError("no status")
    except grpc.RpcError as error:
        # A server of tonic that is first calls it cancelled.
        assert error.code() in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED), error.code()
    assert time.monotonic() - start < 5
    wait_until_given_up(ask, before)


def cancellation(ask, ask_down):
    before = ask(b"cancelled", timeout=PATIENCE)
    call = ask_down(b"endless")
    for _ in range(3):
        assert next(call) == b"tick"
    call.cancel()
    wait_until_given_up(ask, before)


def wait_until_given_up(ask, before):
    end = time.monotonic() + PATIENCE
    while ask(b"cancelled", timeout=PATIENCE) == before:
        assert time.monotonic() < end, "the origin was not told that the call was given up"


if sys.argv[1] == "serve":
    serve(*sys.argv[2:])
else:
    client(*sys.argv[2:])
