"""Files like those by which Linux tells a process of its control groups."""


def group_tree(root, membership, files):
    """What a control group's files look like to a process that is in it."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(membership)
    for name, content in files.items():
        file = root / "sys/fs/cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return root
