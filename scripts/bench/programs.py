# SPDX-License-Identifier: MIT
"""Real programs as workloads: each one process, all of its work fixed, its output thrown away but its exit code looked at.

A program that allocates in a child of its own (the gcc driver) is called by the name of the child (cc1plus). redis is a
server: the client that asks runs without any preload, so the time is the client's and CPU and memory are the server's.
"""
import os
import random
import socket
import subprocess
import time

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "programs")


class Program:
    """A command that is run by the launcher. times: run so often in a row, for what is over too soon to be measured."""

    kind = "program"

    def __init__(self, name, what, command, environment=None, times=1):
        self.name, self.what, self.command, self.times = name, what, command, times
        self.environment = environment or {}

    def measure(self, context, library):
        return context.launch(library, self.command, self.environment, self.times)


class Redis(Program):
    """Debian's redis-server links libjemalloc itself: without a preload it would measure jemalloc. So the C library's
    own malloc is had by preloading the C library."""

    def __init__(self, name, what, libc, work):
        super().__init__(name, what, None)
        self.libc, self.socket, self.work = libc, os.path.join(work, "redis.sock"), work

    def measure(self, context, library):
        # jemalloc is mapped whoever is asked first, so nothing can be asked to be absent
        command = ["/usr/bin/redis-server", "--port", "0", "--unixsocket", self.socket, "--save", "", "--appendonly", "no",
                   "--dir", self.work]
        server = context.start(library or self.libc, command, {}, absent=False)
        try:
            self.ask(b"PING\r\n", b"+PONG")
            began = time.monotonic()
            client = subprocess.run(["redis-benchmark", "-s", self.socket, "-q", "-n", "25000", "-r", "20000", "-P", "16",
                                     "-d", "150", "-t", "set,get,lpush,rpop,hset,zadd"],
                                    stdout=subprocess.DEVNULL, env=context.environment, timeout=context.patience)
            seconds = time.monotonic() - began
            self.ask(b"SHUTDOWN NOSAVE\r\n", None)
        except (OSError, subprocess.TimeoutExpired) as problem:
            context.stop(server)
            return {"error": "redis: %s" % problem}
        result = context.finish(server)
        result["wall"] = seconds * 1e6
        if client.returncode != 0:
            result["error"] = "redis-benchmark: exit code %d" % client.returncode
        return result

    def ask(self, words, answer):
        for _ in range(500):
            try:
                with socket.socket(socket.AF_UNIX) as connection:
                    connection.settimeout(10)
                    connection.connect(self.socket)
                    connection.sendall(words)
                    if answer is None or connection.recv(100).startswith(answer):
                        return
            except (FileNotFoundError, ConnectionRefusedError):
                pass
            time.sleep(0.01)
        raise OSError("the server does not answer")


def make_xml(path):
    """A document of about 10 MB, the same every time."""
    numbers = random.Random(7)
    with open(path, "w", encoding="ascii") as out:
        out.write("<?xml version='1.0'?>\n<!-- made for the benchmark -->\n<list>\n")
        for i in range(66000):
            out.write("<item id='i%d' kind='k%d'><name>%s</name><price unit='EUR'>%d.%02d</price>"
                      "<note>%s &amp; more</note></item>\n"
                      % (i, i % 17, "n%x" % numbers.getrandbits(60), i % 900, i % 100, "text " * (i % 12)))
        out.write("</list>\n")


def programs(context):
    """All of them. What is missing on this machine ends the benchmark: scripts/setup bench installs it."""
    work = context.work
    xml = os.path.join(work, "list.xml")
    make_xml(xml)
    compiler = subprocess.run(["g++", "-print-prog-name=cc1plus"], stdout=subprocess.PIPE, check=True, text=True).stdout.strip()

    def script(name):
        return os.path.join(HERE, name)

    return [
        Program("start-true", "/bin/true, 300 times: starting costs", ["/bin/true"], times=300),
        Program("start-twenty", "a program of 20 blocks, 300 times", [os.path.join(work, "tiny")], times=300),
        Program("python3", "object graphs, PYTHONMALLOC=malloc", ["/usr/bin/python3", script("graph.py")],
                {"PYTHONMALLOC": "malloc", "PYTHONHASHSEED": "0"}),
        Program("perl", "hashes of hashes, strings", ["/usr/bin/perl", script("hashes.pl")], {"PERL_HASH_SEED": "0"}),
        Program("sqlite3", "tables in memory", ["/usr/bin/sqlite3", "-batch", ":memory:", ".read " + script("tables.sql")]),
        Program("gcc", "cc1plus -O1 on standard containers",
                [compiler, "-quiet", "-O1", "-imultiarch", "x86_64-linux-gnu", "-D_GNU_SOURCE", "-o",
                 os.path.join(work, "templates.s"), script("templates.cc")]),
        Program("gs", "PostScript to PDF", ["/usr/bin/gs", "-q", "-dNOPAUSE", "-dBATCH", "-dSAFER", "-sDEVICE=pdfwrite",
                                          "-sOutputFile=" + os.path.join(work, "pages.pdf"), script("pages.ps")]),
        Program("lua", "tables, closures, strings", ["/usr/bin/lua5.4", script("tables.lua")]),
        Program("xmllint", "a document of 10 MB as a tree", ["/usr/bin/xmllint", "--noout", xml]),
        Redis("redis", "redis-server, asked by redis-benchmark", context.libc, work),
    ]
