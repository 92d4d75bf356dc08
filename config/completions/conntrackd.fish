# Completion of conntrackd(8) for fish.
set -l verbs check convert dump keygen peers ready rehearse role stats sweep top
set -l pages network cache runtime link rsqueue process queue expect
complete -c conntrackd -f
complete -c conntrackd -s C -r -F -d 'Configuration'
complete -c conntrackd -n "not __fish_seen_subcommand_from $verbs" -a "$verbs"
complete -c conntrackd -n "not __fish_seen_subcommand_from $verbs" -s d -d 'Run in the background'
complete -c conntrackd -n "not __fish_seen_subcommand_from $verbs" -l record -r -F -d 'Write down what the daemon is told'
complete -c conntrackd -n "not __fish_seen_subcommand_from $verbs" -l record-limit -x -d 'MiB of the recording'
complete -c conntrackd -n "not __fish_seen_subcommand_from $verbs" -l recover -d 'Ask the peers for what the kernel has lost'
complete -c conntrackd -n "not __fish_seen_subcommand_from $verbs" -s v -d 'Version'
complete -c conntrackd -n "not __fish_seen_subcommand_from $verbs" -s h -d 'Help'
complete -c conntrackd -n "not __fish_seen_subcommand_from $verbs" -s c -a 'ct expect' -d 'Commit the external cache'
complete -c conntrackd -n "not __fish_seen_subcommand_from $verbs" -s f -a 'internal external' -d 'Empty the caches'
complete -c conntrackd -n "not __fish_seen_subcommand_from $verbs" -s F -a 'ct expect' -d 'Empty the kernel\'s table'
complete -c conntrackd -n "not __fish_seen_subcommand_from $verbs" -s i -a 'ct expect' -d 'List the internal cache'
complete -c conntrackd -n "not __fish_seen_subcommand_from $verbs" -s e -a 'ct expect' -d 'List the external cache'
complete -c conntrackd -n "not __fish_seen_subcommand_from $verbs" -s k -d 'End the daemon'
complete -c conntrackd -n "not __fish_seen_subcommand_from $verbs" -s s -a "$pages ct" -d 'Statistics'
complete -c conntrackd -n "not __fish_seen_subcommand_from $verbs" -s R -a 'ct expect' -d 'Read the kernel\'s table'
complete -c conntrackd -n "not __fish_seen_subcommand_from $verbs" -s n -d 'Ask the peer for everything'
complete -c conntrackd -n "not __fish_seen_subcommand_from $verbs" -s B -d 'Tell the peer everything'
complete -c conntrackd -n "not __fish_seen_subcommand_from $verbs" -s t -d 'Empty the kernel\'s table after a while'
complete -c conntrackd -n "not __fish_seen_subcommand_from $verbs" -s x -d 'As XML'
complete -c conntrackd -n '__fish_seen_subcommand_from role' -a 'primary backup fault'
complete -c conntrackd -n '__fish_seen_subcommand_from role' -l timeout -x -d 'Seconds to wait'
complete -c conntrackd -n '__fish_seen_subcommand_from role' -l from -x -d 'Node to take over'
complete -c conntrackd -n '__fish_seen_subcommand_from stats' -a "$pages"
complete -c conntrackd -n '__fish_seen_subcommand_from dump peers ready rehearse role stats' -l json -d 'For a program'
complete -c conntrackd -n '__fish_seen_subcommand_from dump' -a 'internal external expect'
complete -c conntrackd -n '__fish_seen_subcommand_from dump' -l xml -d 'As XML'
complete -c conntrackd -n '__fish_seen_subcommand_from top' -l once -d 'Once, as plain text'
complete -c conntrackd -n '__fish_seen_subcommand_from top' -l interval -x -d 'Seconds between two looks'
complete -c conntrackd -n '__fish_seen_subcommand_from top' -l peer -x -d 'Command that prints the statistics of the other node'
