//! Confinement cannot be taken back: each test runs itself again in a process of its own.
#![cfg(target_os = "linux")]

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;

use super::*;

/// Set to the folder that a confined copy of this test works in.
const FOLDER: &str = "ADVMOD_CONFINED";

#[test]
fn a_confined_process_reaches_its_files_and_nothing_else() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return confined(Path::new(&folder));
    }
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for name in ["data", "data/a", "out", "elsewhere", "linked"] {
        fs::create_dir(at(name)).unwrap();
    }
    for name in ["model.pt", "data/a/1.png", "secret", "elsewhere/secret", "linked/2.png"] {
        fs::write(at(name), name).unwrap();
    }
    std::os::unix::fs::symlink(at("linked/2.png"), at("data/a/2.png")).unwrap();
    let name = "confine::tests::a_confined_process_reaches_its_files_and_nothing_else";
    let mut again = Command::new(std::env::current_exe().unwrap());
    let done = again.args([name, "--exact", "--nocapture"]).env(FOLDER, folder.path()).output().unwrap();
    let told = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{told}");
}

fn confined(folder: &Path) {
    let at = |name: &str| folder.join(name);
    let (model, data, out) = (at("model.pt"), at("data"), at("out"));
    let needs = Needs::default().reading([&model]).reading_data([&data]).writing([out.as_path()]);
    let found = confine(&needs).unwrap();
    for name in ["model.pt", "data/a/1.png", "data/a/2.png"] {
        assert!(fs::read(at(name)).is_ok(), "{name}");
    }
    fs::create_dir(at("out/adversarial")).unwrap();
    fs::write(at("out/adversarial/x"), "x").unwrap();
    fs::rename(at("out/adversarial/x"), at("out/x")).unwrap();
    std::thread::spawn(|| std::thread::available_parallelism().unwrap()).join().unwrap();
    if found.files.is_ok() {
        for name in ["secret", "elsewhere/secret"] {
            assert!(fs::read(at(name)).is_err() && fs::write(at(name), "x").is_err(), "{name}");
        }
        for name in ["model.pt", "data/a/1.png", "new", "data/new"] {
            assert!(fs::write(at(name), "x").is_err(), "{name}");
        }
        assert!(fs::rename(at("out/x"), at("elsewhere/x")).is_err());
        assert!(fs::read_to_string("/etc/passwd").is_err());
        let inherited = std::thread::spawn(move || fs::write(PathBuf::from("/tmp").join("advmod-outside"), "x"));
        assert!(inherited.join().unwrap().is_err());
    }
    if found.calls.is_ok() {
        assert!(TcpListener::bind("127.0.0.1:0").is_err());
        assert!(Command::new("/bin/true").status().is_err());
    }
}

/// What the filter says of a call with this number: a small machine for the few instructions that it has.
#[cfg(target_arch = "x86_64")]
fn answer(filter: &[seccompiler::sock_filter], number: u32) -> u32 {
    const X86_64: u32 = 0xc000_003e;
    let (mut at, mut accumulator) = (0, 0);
    loop {
        let instruction = &filter[at];
        let (code, k) = (u32::from(instruction.code), instruction.k);
        let jump = |is_so: bool| usize::from(if is_so { instruction.jt } else { instruction.jf });
        at += 1;
        match (code & 0x07, code & 0xf0) {
            (libc::BPF_LD, _) => accumulator = [number, X86_64].get(k as usize / 4).copied().unwrap_or(0),
            (libc::BPF_RET, _) => return k,
            (libc::BPF_ALU, libc::BPF_AND) => accumulator &= k,
            (libc::BPF_JMP, libc::BPF_JA) => at += k as usize,
            (libc::BPF_JMP, libc::BPF_JEQ) => at += jump(accumulator == k),
            (libc::BPF_JMP, libc::BPF_JGE) => at += jump(accumulator >= k),
            (libc::BPF_JMP, libc::BPF_JGT) => at += jump(accumulator > k),
            other => panic!("{other:?}"),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn no_call_comes_by_another_number() {
    let filter = calls::filter().unwrap();
    let refused = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
    let (socket, execve) = (libc::SYS_socket as u32, libc::SYS_execve as u32);
    // The last one is execve's own number among those of x32.
    for number in [socket, execve, calls::X32 | socket, calls::X32 | execve, calls::X32 | 0x208, u32::MAX] {
        assert_eq!(answer(&filter, number), refused, "{number}");
    }
    for number in [libc::SYS_read, libc::SYS_openat, libc::SYS_mmap, libc::SYS_ioctl] {
        assert_eq!(answer(&filter, number as u32), libc::SECCOMP_RET_ALLOW, "{number}");
    }
}
