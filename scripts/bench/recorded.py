# SPDX-License-Identifier: MIT
"""The programs that scripts/bench-recording measures, and whose stacks scripts/check-stacks looks at."""
import json
import os
import random
import subprocess

import programs

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "programs")
REDIS = "redis"
TEMPLATES = """#include <map>
#include <regex>
#include <string>
std::map<std::string, std::regex> patterns;
bool matches(const std::string &name, const std::string &text) { return std::regex_search(text, patterns[name]); }
"""


def make_json(path):
    numbers = random.Random(3)
    with open(path, "w", encoding="ascii") as out:
        json.dump([{"id": i, "name": "n%x" % numbers.getrandbits(48), "tags": ["t%d" % (i % 7), i]} for i in range(60000)], out)


def commands(work):
    """(name, command, environment) of each program; what it prints is thrown away."""
    xml, document, source = (os.path.join(work, name) for name in ("list.xml", "list.json", "regex.cc"))
    programs.make_xml(xml)
    make_json(document)
    with open(source, "w", encoding="ascii") as out:
        out.write(TEMPLATES)
    compiler = subprocess.run(["g++", "-print-prog-name=cc1plus"], stdout=subprocess.PIPE, check=True, text=True).stdout.strip()
    return [
        ("python3", ["/usr/bin/python3", os.path.join(HERE, "graph.py")],
         {"PYTHONMALLOC": "malloc", "PYTHONHASHSEED": "0"}),
        ("perl", ["/usr/bin/perl", os.path.join(HERE, "hashes.pl")], {"PERL_HASH_SEED": "0"}),
        ("sqlite3", ["/usr/bin/sqlite3", "-batch", ":memory:", ".read " + os.path.join(HERE, "tables.sql")], {}),
        ("lua", ["/usr/bin/lua5.4", os.path.join(HERE, "tables.lua")], {}),
        ("xmllint", ["/usr/bin/xmllint", "--noout", xml, xml], {}),
        ("jq", ["/usr/bin/jq", "-c", "map(.id) | add", document], {}),
        (REDIS, ["/usr/bin/redis-server", "--port", "0", "--unixsocket", os.path.join(work, "redis.sock"), "--save", "",
                 "--appendonly", "no", "--dir", work], {}),
        ("cc1plus", [compiler, "-quiet", "-O1", "-imultiarch", "x86_64-linux-gnu", "-D_GNU_SOURCE", "-o",
                     os.path.join(work, "regex.s"), source], {}),
    ]


def words(work):
    """The environment they run in, besides their own."""
    return {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": work, "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def start_redis_client(work):
    """Its benchmark client, without any preload, once the server answers. OSError: it does not."""
    server = programs.Redis(REDIS, "", "", work)
    server.ask(b"PING\r\n", b"+PONG")
    return subprocess.Popen(["redis-benchmark", "-s", server.socket, "-q", "-n", "240000", "-r", "20000", "-P", "16", "-d", "150",
                             "-t", "set,get,lpush,rpop,hset,zadd"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def end_redis(work):
    programs.Redis(REDIS, "", "", work).ask(b"SHUTDOWN NOSAVE\r\n", None)


def ask_redis(work):
    """All that the client asks, and the end."""
    with start_redis_client(work) as client:
        if client.wait() != 0:
            raise OSError("redis-benchmark: exit code %d" % client.returncode)
    end_redis(work)
