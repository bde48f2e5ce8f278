//! What a process gives up and cannot get back: rights, files, system calls.

use std::io;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, Scope,
};
use rustix::io::Errno;
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, capability_is_in_bounding_set,
    clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities,
    set_capabilities_secure_bits, set_no_new_privs,
};

use super::super::plan::Plan;
use super::super::report::{SetupError, Step};
use super::super::{HOME, Network, Part};
use super::{mounts, syscalls};
use crate::process::os::namespace;

/// What is asked of Landlock; an older kernel gives what it has.
const LANDLOCK: ABI = ABI::V6;

/// Gives up every capability, now and for whatever is executed.
pub(crate) fn give_up_rights() -> Result<(), SetupError> {
    let given_up = gain_none().and_then(|()| keep(CapabilitySet::empty()));
    given_up.map_err(|error| Step::Other("capabilities cannot be given up".to_owned()).failed(error))
}

/// Whatever is executed from now on has no capability, and a change of users changes nothing about those of this process.
pub(crate) fn gain_none() -> io::Result<()> {
    set_no_new_privs(true)?;
    set_capabilities_secure_bits(
        CapabilitiesSecureBits::NO_ROOT
            | CapabilitiesSecureBits::NO_ROOT_LOCKED
            | CapabilitiesSecureBits::NO_SETUID_FIXUP
            | CapabilitiesSecureBits::NO_SETUID_FIXUP_LOCKED
            | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE
            | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE_LOCKED,
    )?;
    for number in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        match capability_is_in_bounding_set(capability) {
            Ok(true) => remove_capability_from_bounding_set(capability)?,
            Ok(false) => {}
            // The kernel knows no more of them.
            Err(Errno::INVAL) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(clear_ambient_capability_set()?)
}

/// Gives up every capability of this process but these.
pub(crate) fn keep(capabilities: CapabilitySet) -> io::Result<()> {
    let inheritable = CapabilitySet::empty();
    let sets = CapabilitySets { effective: capabilities, permitted: capabilities, inheritable };
    Ok(set_capabilities(None, sets)?)
}

/// The second wall around files, behind the mounts: the same paths once more. And no TCP, signals or abstract sockets
/// to the outside.
pub(super) fn restrict_files(plan: &Plan) -> Result<(), SetupError> {
    if let Err(error) = namespace::landlock_abi() {
        let is_waived = plan.waived.contains(&Part::Landlock);
        return if is_waived { Ok(()) } else { Err(Step::Part(Part::Landlock).failed(error)) };
    }
    let failed = |error: landlock::RulesetError| {
        let why = format!("Landlock does not take the rules ({error})");
        Step::Other(why).failed(io::ErrorKind::Other)
    };
    let rules = ruleset(plan).map_err(failed)?;
    let rules = allow(rules, [Path::new("/")], AccessFs::ReadDir.into()).map_err(failed)?;
    let rules =
        allow(rules, mounts::READABLE.map(Path::new), AccessFs::from_read(LANDLOCK)).map_err(failed)?;
    let devices = mounts::DEVICES.map(|name| PathBuf::from("/dev").join(name));
    let device = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev;
    let rules = allow(rules, &devices, device).map_err(failed)?;
    let (writable, readable): (Vec<_>, Vec<_>) = plan.shown.iter().partition(|shown| shown.is_writable);
    let readable = readable.iter().map(|shown| Path::new(&shown.target));
    let rules = allow(rules, readable, AccessFs::from_read(LANDLOCK)).map_err(failed)?;
    let writable = writable.iter().map(|shown| Path::new(&shown.target));
    let own = ["/tmp", "/dev/shm", HOME].map(Path::new);
    let rules = allow(rules, writable.chain(own), AccessFs::from_all(LANDLOCK)).map_err(failed)?;
    rules.restrict_self().map_err(failed)?;
    Ok(())
}

fn ruleset(plan: &Plan) -> Result<RulesetCreated, landlock::RulesetError> {
    let rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(LANDLOCK))?
        .scope(Scope::from_all(LANDLOCK))?;
    let rules =
        if plan.network == Network::None { rules.handle_access(AccessNet::ConnectTcp)? } else { rules };
    rules.create()
}

fn allow(
    mut rules: RulesetCreated,
    paths: impl IntoIterator<Item = impl AsRef<Path>>,
    access: landlock::BitFlags<AccessFs>,
) -> Result<RulesetCreated, landlock::RulesetError> {
    for path in paths {
        // What is not there needs no rule.
        let Ok(file) = PathFd::new(&path) else { continue };
        let access = if path.as_ref().is_dir() { access } else { access & AccessFs::from_file(LANDLOCK) };
        rules = rules.add_rule(PathBeneath::new(file, access))?;
    }
    Ok(rules)
}

/// The system calls that are left.
pub(crate) fn restrict_calls() -> Result<(), SetupError> {
    syscalls::restrict().map_err(|error| {
        // The filter is refused by kernels without it; that it was put together wrongly would show in every test.
        let why = format!("the system call filter was not taken ({error})");
        Step::Other(why).failed(io::ErrorKind::Unsupported)
    })
}
