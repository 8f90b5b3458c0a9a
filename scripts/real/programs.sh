# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# programs.sh - what each real program does under scripts/real-programs. To be sourced.
#
# Each real_NAME runs in an empty directory of its own, starts the program by `under`, prints what has to be the same
# on stdout (no times, process ids or paths), and returns the program's exit code. Servers listen on a Unix socket or
# a loopback port, and are stopped before it returns.

set -o pipefail

# wait_for SECONDS COMMAND...: until it succeeds.
wait_for()
{
    local tries=$(($1 * 10))
    shift
    while [ $tries -gt 0 ]; do
        "$@" >/dev/null 2>&1 && return 0
        tries=$((tries - 1))
        sleep 0.1
    done
    echo "waited in vain for: $*"
    return 1
}

real_python3()
{
    cat >script.py <<'PY'
import collections, json, subprocess, sys, threading

def work(n, out):
    d = collections.OrderedDict((str(i), [i] * (i % 50)) for i in range(20000))
    out[n] = sum(len(v) for v in d.values())

out = {}
threads = [threading.Thread(target=work, args=(n, out)) for n in range(8)]
[t.start() for t in threads]
[t.join() for t in threads]
print(sorted(out.items()))
for n in range(10):
    print(subprocess.run([sys.executable, '-c', f'print({n} ** 3)'], capture_output=True, text=True).stdout.strip())
print(len(json.dumps([{'a': i, 'b': str(i)} for i in range(50000)])))
sys.exit(0)
PY
    under env PYTHONMALLOC=malloc PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 script.py
}

real_perl()
{
    # shellcheck disable=SC2016
    under perl -e 'my %h; $h{$_ % 1000} .= "x$_" for 1 .. 200000; print join(",", map { length $h{$_} } sort keys %h), "\n";
        my @s = sort { $a <=> $b } map { ($_ * 7919) % 100003 } 1 .. 50000; print "$s[0] $s[-1]\n"; system("echo child");'
}

real_sqlite3()
{
    under sqlite3 base.db "create table t(a integer primary key, b text);
        with recursive n(x) as (select 1 union all select x+1 from n where x<100000) insert into t select x, 'row '||x from n;
        create index i on t(b); select count(*), max(b) from t; select b from t where a % 10007 = 0; delete from t where a % 3 = 0;
        vacuum; pragma integrity_check; select count(*) from t;"
}

real_git()
{
    export HOME=$PWD GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_DATE='2020-01-01T00:00:00Z' GIT_COMMITTER_DATE='2020-01-01T00:00:00Z'
    git config --global user.name a && git config --global user.email a@b && git config --global init.defaultBranch main
    git init -q origin
    for i in $(seq 1 60); do
        seq "$i" $((i * 50)) >"origin/file$((i % 7))"
        git -C origin add -A
        git -C origin commit -q -m "commit $i"
    done
    under git clone -q --no-local origin copy || return
    cd copy || return
    under git gc -q --aggressive --prune=now || return
    under git fsck --full --strict || return
    under git log --stat --oneline | sha256sum
}

# compile COMPILER SUFFIX: to an object, whose bytes have to be the same, and to a program, which has to run.
compile()
{
    cat >main.c <<'C'
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
static int compare(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }
int main(void)
{
    char *w[] = {"pool", "arena", "span", "block", "ledger", "site"};
    qsort(w, 6, sizeof(w[0]), compare);
    for (int i = 0; i < 6; i++)
        puts(w[i]);
    return 0;
}
C
    cat >main.cc <<'C'
#include <algorithm>
#include <iostream>
#include <map>
#include <string>
#include <vector>
int main()
{
    std::map<std::string, std::vector<int>> m;
    for (int i = 0; i < 100; i++)
        m[std::to_string(i % 7)].push_back(i);
    for (auto &e : m)
        std::cout << e.first << ' ' << e.second.size() << ' ' << e.first.size() << '\n';
}
C
    under "$1" -O2 -g0 -c -o main.o "main.$2" || return
    sha256sum main.o
    under "$1" -O2 -o main "main.$2" || return
    ./main
}

real_gcc()
{
    compile gcc c
}

real_gxx()
{
    compile g++ cc
}

real_clang()
{
    compile clang c
}

real_xz()
{
    seq 1 400000 >numbers
    under xz -T2 -k -c numbers >numbers.xz || return
    under xz -T2 -dc numbers.xz | sha256sum
}

real_lua()
{
    under lua5.4 -e 'local t = {} for i = 1, 200000 do t[i] = { tostring(i), i } end table.sort(t, function(a, b) return a[1] < b[1] end)
        print(#t, t[1][1], t[#t][1]) collectgarbage() print(string.rep("x", 100000):len())'
}

real_curl()
{
    mkdir www
    seq 1 200000 >www/page
    /usr/bin/python3 -u -m http.server --bind 127.0.0.1 --directory www 0 >server.log 2>&1 &
    local server=$! port code
    wait_for 20 grep -q 'port [0-9]' server.log || { kill $server; return 1; }
    port=$(sed -n 's/.*port \([0-9]*\).*/\1/p' server.log | head -1)
    under curl -sS "http://127.0.0.1:$port/page" -o got "http://127.0.0.1:$port/page" -o got2
    code=$?
    cat got got2 | sha256sum
    kill $server
    wait $server 2>/dev/null
    return $code
}

real_bash()
{
    # shellcheck disable=SC2016
    under bash -c 'n=0; for i in $(seq 1 1000); do v=$(echo $((i * 3))); n=$((n + v)); done; echo $n; ( exit 0 ) && echo end'
}

real_redis()
{
    under redis-server --port 0 --unixsocket "$PWD/socket" --save '' --appendonly no --dir "$PWD" --daemonize no >server.log 2>&1 &
    local server=$!
    wait_for 60 redis-cli -s socket ping || { kill $server; return 1; }
    for i in $(seq 1 2000); do
        echo "set key$i $(printf 'v%.0s' $(seq 1 $((i % 100 + 1))))"
        echo "rpush list $i"
    done | under redis-cli -s socket | sort | uniq -c | tail -1 | sed 's/[0-9]*//'
    redis-cli -s socket --no-raw strlen key99
    redis-cli -s socket llen list
    redis-cli -s socket lrange list 0 5
    redis-cli -s socket del list
    redis-cli -s socket shutdown nosave
    wait $server
}

real_nginx()
{
    local port server
    port=$(/usr/bin/python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    mkdir www
    seq 1 100000 >www/page
    cat >nginx.conf <<N
$([ "$(id -u)" != 0 ] || echo 'user root;')
daemon off;
worker_processes 2;
pid $PWD/pid;
error_log $PWD/error.log;
events { worker_connections 64; }
http {
    access_log off;
    client_body_temp_path $PWD/t1; proxy_temp_path $PWD/t2; fastcgi_temp_path $PWD/t3; uwsgi_temp_path $PWD/t4; scgi_temp_path $PWD/t5;
    gzip on; gzip_types text/plain;
    server { listen 127.0.0.1:$port; root $PWD/www; default_type text/plain; }
}
N
    under nginx -p "$PWD" -e error.log -c "$PWD/nginx.conf" &
    server=$!
    wait_for 60 curl -sf "http://127.0.0.1:$port/page" || { kill $server; return 1; }
    for i in 1 2 3 4 5; do
        curl -sS --compressed "http://127.0.0.1:$port/page" | sha256sum
    done
    curl -s -o /dev/null -w '%{http_code}\n' "http://127.0.0.1:$port/none"
    nginx -p "$PWD" -e error.log -c "$PWD/nginx.conf" -s quit
    wait $server
}

real_postgres()
{
    local bin server
    bin=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -1)
    as_nobody()
    {
        prefix_of_mode
        if [ "$(id -u)" = 0 ]; then
            setpriv --reuid=nobody --regid=nogroup --clear-groups env HOME="$PWD" "${prefix[@]}" "$@"
        else
            "${prefix[@]}" "$@"
        fi
    }
    as_nobody "$bin/initdb" -D "$PWD/data" -A trust -U me --no-sync | grep -c ok || return
    as_nobody "$bin/postgres" -D "$PWD/data" -k "$PWD" -h '' -c fsync=off >server.log 2>&1 &
    server=$!
    wait_for 90 psql -h "$PWD" -U me -d postgres -c 'select 1' || { cat server.log; kill $server; return 1; }
    under psql -h "$PWD" -U me -d postgres -At -c "create table t as select g a, md5(g::text) b from generate_series(1, 50000) g;
        create index on t(b); select count(*), max(b) from t; select a from t where b like 'abc%' order by a;
        select sum(length(b)) from t join (select a x from t where a % 3 = 0) s on s.x = t.a;"
    local code=$?
    kill -INT "$(head -1 data/postmaster.pid)"
    wait $server && return $code
}

real_node()
{
    under node -e 'const m = new Map(); for (let i = 0; i < 200000; i++) m.set("k" + i, [i]); console.log(m.size);
        const { execSync } = require("child_process"); console.log(execSync("echo child").toString().trim());
        const { Worker } = require("worker_threads");
        new Worker("require(\"worker_threads\").parentPort.postMessage(42)", { eval: true }).on("message", v => console.log(v));'
}

real_ruby()
{
    # shellcheck disable=SC2016
    under ruby -e 'h = {}; 200000.times { |i| h["k#{i}"] = [i] * 3 }; puts h.size; t = 4.times.map { |n| Thread.new { (1..50000).map(&:to_s).join.size + n } };
        p t.map(&:value); puts `echo child`; GC.start; puts "end"'
}

real_gdb()
{
    printf 'int main(void)\n{\n    return 0;\n}\n' >p.c
    gcc -g -o p p.c || return
    under gdb -nx -q --batch -ex 'print 6*7' -ex 'info line main' -ex 'break main' -ex run -ex 'bt' -ex continue ./p |
        sed -E "s/(process|Thread) [0-9a-fx]+/\\1 N/g; s/0x[0-9a-f]+/ADDRESS/g; s|$PWD|.|g"
}

real_java()
{
    # It prints on stderr, as our report does.
    under java -version 2>&1 | grep -iE '^openjdk'
}

real_chromium()
{
    echo '<html><body><script>document.write("<p>" + [1, 2, 3].map(x => x * 2).join("-") + "</p>")</script></body></html>' >page.html
    under chromium --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --user-data-dir="$PWD/profile" --dump-dom "file://$PWD/page.html"
}

real_php()
{
    # shellcheck disable=SC2016
    under php -n -r '$a = []; for ($i = 0; $i < 200000; $i++) $a["k$i"] = str_repeat("x", $i % 10); echo count($a), " ", md5(json_encode($a)), "\n";
        echo shell_exec("echo child"); echo preg_replace("/(\d+)/", "<$1>", "a1b22"), "\n";' || return
    under php -r 'echo count(get_loaded_extensions()) > 5 ? "extensions" : "none", "\n";'
}
