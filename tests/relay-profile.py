"""Tables from `perf script -F comm,tid,ip,sym,dso`, for tests/relay-profile.sh.

relay-profile.py cpu FILE MESSAGES HZ        samples of CPU time
relay-profile.py malloc FILE MESSAGES CALLS  some of the calls of malloc, of CALLS in a run of the same length
"""
import re
import sys
from collections import Counter, defaultdict

KIND, FILE, MESSAGES, RATE = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
FRAME = re.compile(r"^\s+([0-9a-f]+)\s+(.*?)\s+\(([^()]*(?:\([^()]*\))?[^()]*)\)\s*$")
HEAD = re.compile(r"^(\S.*?)\s+(\d+)\s*$")
# What every stack passes through, and says nothing.
DULL = re.compile(
    r"^(core|std|alloc|__rust|_?start|clone|__clone|start_thread|entry_SYSCALL|do_syscall|x64_sys_call|main$|"
    r"tokio::(runtime|task|macros|future|io|time|net|loom|util)|futures_|<(core|alloc|std|tokio|futures)|actix_rt|\[unknown\]|ret_from_fork)"
)
OWN = re.compile(r"\b(spool_|lettre|actix|tracing|rustls|crc32c|serde|postcard|ulid|mio::)")


def short(name):
    name = re.sub(r"(\+0x[0-9a-f]+)?$", "", name)
    name = re.sub(r"::h[0-9a-f]{16}$", "", name)
    name = name.replace("->", " ")
    depth, out = 0, []
    # Generic arguments say little at this width; the type of an impl is kept.
    name = re.sub(r"^<(.*?) as (.*?)>::", lambda m: m.group(1).split("<")[0] + "::", name)
    for char in name:
        if char == "<":
            depth += 1
        elif char == ">" and depth:
            depth -= 1
        elif not depth:
            out.append(char)
    name = "".join(out).replace("{{closure}}", "{}").replace("{closure#0}", "{}")
    name = re.sub(r"(::\{\})+", "", name)
    return re.sub(r":{3,}", "::", name).strip(":") or "?"


def load():
    stacks, head, frames = [], None, []
    for line in open(FILE, errors="replace"):
        if not line.strip():
            if head:
                stacks.append((head, frames))
            head, frames = None, []
        elif match := FRAME.match(line):
            _, name, dso = match.groups()
            kernel = "kernel" in dso or dso.startswith("[k")
            frames.append((short(name), kernel, dso.rsplit("/", 1)[-1]))
        elif match := HEAD.match(line):
            head = match.group(1)
    if head:
        stacks.append((head, frames))
    return stacks


def group(frames):
    """The crate, or the system call, that a sample belongs to."""
    name, kernel, dso = frames[0]
    if kernel:
        for frame, is_kernel, _ in frames:
            if is_kernel and (match := re.match(r"(?:__(?:x64|do)_sys|ksys)_(\w+)", frame)):
                return "kernel: " + match.group(1)
        return "kernel: interrupts and others"
    if dso.startswith("libc") or dso.startswith("ld-"):
        return "libc: allocator" if re.search(r"malloc|free|calloc|realloc|unlink_chunk|arena|tcache|consolidate", name) else "libc: memory and others"
    match = re.search(r"[a-z_][a-z0-9_]*(?=::)", name)
    return match.group(0) if match else name


def table(title, counts, total, unit, most):
    print(f"\n-- {title}")
    for name, count in counts.most_common(most):
        print(f"{100 * count / total:6.2f} %  {unit(count):>9}  {name[:140]}")


stacks = [(thread, frames) for thread, frames in load() if frames]
total = len(stacks)
if KIND == "cpu":
    unit = lambda count: f"{count * 1e6 / RATE / MESSAGES:.2f} us"
else:
    unit = lambda count: f"{count / total * RATE / MESSAGES:.2f}"
print(f"{total} samples: {unit(total)} per message")

table("by thread", Counter(thread for thread, _ in stacks), total, unit, 12)
if KIND == "cpu":
    table("by crate or system call (self)", Counter(group(frames) for _, frames in stacks), total, unit, 30)
    leaf = lambda frames: frames[0][0] + (" [kernel]" if frames[0][1] else "")
    table("functions (self)", Counter(leaf(frames) for _, frames in stacks), total, unit, 40)
    table("functions in user mode (self)", Counter(leaf(f) for _, f in stacks if not f[0][1]), total, unit, 30)

inclusive, own, entries = Counter(), Counter(), Counter()
for _, frames in stacks:
    if frames[0][1] and (call := group(frames)[8:]):
        users = [name for name, kernel, _ in frames if not kernel]
        caller = next((n for n in users if OWN.search(n) and "mio::" not in n), None)
        entries[f"{call}, from {caller or next((n for n in users if 'tokio' in n), '?')}"] += 1
    for name in {name for name, _, _ in frames}:
        if not DULL.match(name):
            inclusive[name] += 1
    if KIND == "malloc":
        caller = next((name for name, _, _ in frames[1:] if OWN.search(name)), "?")
        own[caller] += 1
if KIND == "malloc":
    table("nearest function of ours or of a named library", own, total, unit, 40)
else:
    table("time in the kernel by the function that went there", entries, total, unit, 25)
table("subtrees (inclusive)", inclusive, total, unit, 60)

# A tree for each thread, of system calls and of functions that are ours or of a library in question.
trees = defaultdict(Counter)
for thread, frames in stacks:
    path = []
    for name, kernel, _ in reversed(frames):
        if kernel:
            if match := re.match(r"(?:__(?:x64|do)_sys|ksys)_(\w+)", name):
                path.append("[" + match.group(1) + "]")
        elif OWN.search(name) and not DULL.match(name) and (not path or path[-1] != name):
            path.append(name)
    for depth in range(len(path) + 1):
        trees[thread][tuple(path[:depth])] += 1
print("\n-- tree by thread (share of all, from 0.8 %)")
for thread, tree in sorted(trees.items(), key=lambda item: -item[1][()]):
    if tree[()] < total / 200:
        continue
    print(f"{100 * tree[()] / total:6.2f} %  {thread}")

    def walk(path):
        children = [(count, p) for p, count in tree.items() if len(p) == len(path) + 1 and p[: len(path)] == path]
        for count, child in sorted(children, reverse=True):
            if count >= total * 0.008:
                print(f"{100 * count / total:6.2f} %  {'  ' * len(child)}{child[-1][:110]}")
                walk(child)

    walk(())
