# Completion of conntrack(8) for fish.
complete -c conntrack -f
complete -c conntrack -l add
complete -c conntrack -l any-nat
complete -c conntrack -l buffer-size
complete -c conntrack -l counter
complete -c conntrack -l create
complete -c conntrack -l delete
complete -c conntrack -l dport
complete -c conntrack -l dry-run
complete -c conntrack -l dst
complete -c conntrack -l dst-nat
complete -c conntrack -l dstkey
complete -c conntrack -l dump
complete -c conntrack -l event
complete -c conntrack -l event-mask -x -a 'ALL DESTROY NEW UPDATES'
complete -c conntrack -l family -x -a 'ipv4 ipv6'
complete -c conntrack -l flush
complete -c conntrack -l get
complete -c conntrack -l help
complete -c conntrack -l icmp-code
complete -c conntrack -l icmp-id
complete -c conntrack -l icmp-type
complete -c conntrack -l icmpv6-code
complete -c conntrack -l icmpv6-id
complete -c conntrack -l icmpv6-type
complete -c conntrack -l id
complete -c conntrack -l label
complete -c conntrack -l label-add
complete -c conntrack -l label-del
complete -c conntrack -l labelmap -r -F
complete -c conntrack -l load-file -r -F
complete -c conntrack -l mark
complete -c conntrack -l mask-dst
complete -c conntrack -l mask-key-dst
complete -c conntrack -l mask-key-src
complete -c conntrack -l mask-port-dst
complete -c conntrack -l mask-port-src
complete -c conntrack -l mask-src
complete -c conntrack -l nat-range
complete -c conntrack -l netns
complete -c conntrack -l orig-key-dst
complete -c conntrack -l orig-key-src
complete -c conntrack -l orig-port-dst
complete -c conntrack -l orig-port-src
complete -c conntrack -l orig-vtag
complete -c conntrack -l orig-zone
complete -c conntrack -l output -x -a 'extended id json ktimestamp labels save timestamp userspace xml'
complete -c conntrack -l protonum -x -a 'tcp udp udplite sctp dccp icmp icmpv6 gre'
complete -c conntrack -l reply-dst
complete -c conntrack -l reply-key-dst
complete -c conntrack -l reply-key-src
complete -c conntrack -l reply-port-dst
complete -c conntrack -l reply-port-src
complete -c conntrack -l reply-src
complete -c conntrack -l reply-vtag
complete -c conntrack -l reply-zone
complete -c conntrack -l role
complete -c conntrack -l secmark
complete -c conntrack -l sport
complete -c conntrack -l src
complete -c conntrack -l src-nat
complete -c conntrack -l srckey
complete -c conntrack -l state -x -a 'CLOSE CLOSE_WAIT ESTABLISHED FIN_WAIT LAST_ACK SYN_RECV SYN_SENT TIME_WAIT'
complete -c conntrack -l stats
complete -c conntrack -l status -x -a 'ASSURED FIXED_TIMEOUT SEEN_REPLY UNREPLIED UNSET'
complete -c conntrack -l timeout
complete -c conntrack -l tuple-dst
complete -c conntrack -l tuple-key-dst
complete -c conntrack -l tuple-key-src
complete -c conntrack -l tuple-port-dst
complete -c conntrack -l tuple-port-src
complete -c conntrack -l tuple-src
complete -c conntrack -l update
complete -c conntrack -l version
complete -c conntrack -l zero
complete -c conntrack -l zone
complete -c conntrack -s A
complete -c conntrack -s C -x -a 'conntrack dying expect unconfirmed'
complete -c conntrack -s D -x -a 'conntrack dying expect unconfirmed'
complete -c conntrack -s E -x -a 'conntrack dying expect unconfirmed'
complete -c conntrack -s F -x -a 'conntrack dying expect unconfirmed'
complete -c conntrack -s G -x -a 'conntrack dying expect unconfirmed'
complete -c conntrack -s I -x -a 'conntrack dying expect unconfirmed'
complete -c conntrack -s L -x -a 'conntrack dying expect unconfirmed'
complete -c conntrack -s S -x -a 'conntrack dying expect unconfirmed'
complete -c conntrack -s U
complete -c conntrack -s V
complete -c conntrack -s a
complete -c conntrack -s b
complete -c conntrack -s c
complete -c conntrack -s d
complete -c conntrack -s e -x -a 'ALL DESTROY NEW UPDATES'
complete -c conntrack -s f -x -a 'ipv4 ipv6'
complete -c conntrack -s g
complete -c conntrack -s h
complete -c conntrack -s i
complete -c conntrack -s j
complete -c conntrack -s l
complete -c conntrack -s m
complete -c conntrack -s n
complete -c conntrack -s o -x -a 'extended id json ktimestamp labels save timestamp userspace xml'
complete -c conntrack -s p -x -a 'tcp udp udplite sctp dccp icmp icmpv6 gre'
complete -c conntrack -s q
complete -c conntrack -s r
complete -c conntrack -s s
complete -c conntrack -s t
complete -c conntrack -s u -x -a 'ASSURED FIXED_TIMEOUT SEEN_REPLY UNREPLIED UNSET'
complete -c conntrack -s w
complete -c conntrack -s z
