//! Who a command is: the `USER` of an image, looked up in the image's own `/etc/passwd` and `/etc/group`.

use rustix::fs::{Gid, Uid};

/// A user, as the kernel wants it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct User {
    pub(super) uid: Uid,
    pub(super) gid: Gid,
    pub(super) groups: Vec<Gid>,
    pub(super) home: String,
}

impl User {
    /// The user that an image names. `Err` says what is wrong with it.
    pub(super) fn of_image(text: &str) -> Result<Self, String> {
        // An image need not have these files: then there are numbers only.
        let read = |path: &str| std::fs::read(path).unwrap_or_default();
        let (passwd, group) = (read("/etc/passwd"), read("/etc/group"));
        look_up(text, &String::from_utf8_lossy(&passwd), &String::from_utf8_lossy(&group))
    }
}

fn look_up(text: &str, passwd: &str, group: &str) -> Result<User, String> {
    let (name, of_group) = text.split_once(':').unwrap_or((text, ""));
    let name = if name.is_empty() { "0" } else { name };
    let number = name.parse::<u32>().ok();
    let known = lines(passwd).find(|fields| {
        fields.first() == Some(&name) || (number.is_some() && field::<u32>(fields, 2) == number)
    });
    let uid = known.as_ref().and_then(|fields| field(fields, 2)).or(number);
    let uid = uid.ok_or_else(|| format!("the image has no user {name:?}"))?;
    let gid = match of_group {
        "" => known.as_ref().and_then(|fields| field(fields, 3)).unwrap_or(0),
        named => group_number(named, group).ok_or_else(|| format!("the image has no group {named:?}"))?,
    };
    let mut groups = vec![Gid::from_raw(gid)];
    if let (Some(fields), "") = (&known, of_group) {
        let of_user = lines(group).filter(|entry| is_member(entry, fields[0]));
        groups.extend(
            of_user.filter_map(|entry| field(&entry, 2)).filter(|more| *more != gid).map(Gid::from_raw),
        );
    }
    let home = known.and_then(|fields| fields.get(5).map(|home| (*home).to_owned()));
    let home = home.filter(|home| !home.is_empty()).unwrap_or_else(|| "/".to_owned());
    Ok(User { uid: Uid::from_raw(uid), gid: Gid::from_raw(gid), groups, home })
}

fn group_number(named: &str, group: &str) -> Option<u32> {
    let known = lines(group).find(|fields| fields.first() == Some(&named));
    known.and_then(|fields| field(&fields, 2)).or_else(|| named.parse().ok())
}

fn is_member(entry: &[&str], name: &str) -> bool {
    entry.get(3).is_some_and(|members| members.split(',').any(|member| member == name))
}

fn lines(file: &str) -> impl Iterator<Item = Vec<&str>> {
    file.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.split(':').collect())
}

fn field<T: std::str::FromStr>(fields: &[&str], at: usize) -> Option<T> {
    fields.get(at)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nnode:x:1000:1001::/home/node:/bin/sh\n\nodd:x\n";
    const GROUP: &str = "root:x:0:\nnode:x:1001:\nwheel:x:10:root,node\nextra:x:20:node\n";

    #[test]
    fn a_user_is_found_by_name_or_number() {
        for (text, expect) in [
            ("", Ok((0, 0, vec![0, 10], "/root"))),
            ("root", Ok((0, 0, vec![0, 10], "/root"))),
            ("node", Ok((1000, 1001, vec![1001, 10, 20], "/home/node"))),
            ("1000", Ok((1000, 1001, vec![1001, 10, 20], "/home/node"))),
            ("node:wheel", Ok((1000, 10, vec![10], "/home/node"))),
            ("1000:7", Ok((1000, 7, vec![7], "/home/node"))),
            ("4242", Ok((4242, 0, vec![0], "/"))),
            ("nobody", Err("the image has no user \"nobody\"")),
            ("odd", Err("the image has no user \"odd\"")),
            ("node:none", Err("the image has no group \"none\"")),
        ] {
            let found = look_up(text, PASSWD, GROUP);
            let found = found.as_ref().map(|user| {
                let groups: Vec<u32> = user.groups.iter().map(|gid| gid.as_raw()).collect();
                (user.uid.as_raw(), user.gid.as_raw(), groups, &*user.home)
            });
            assert_eq!(found.map_err(|why| &**why), expect, "{text}");
        }
    }

    #[test]
    fn an_image_without_files_has_numbers_only() {
        let user = look_up("7:8", "", "").unwrap();
        assert_eq!((user.uid.as_raw(), user.gid.as_raw(), &*user.home), (7, 8, "/"));
        assert!(look_up("node", "", "").is_err());
    }
}
