package layertest

import (
	"fmt"
	"slices"
)

// checks returns the suite: every check, in the order of the rules.
func checks() []check {
	return expand(slices.Concat(
		rule01(), rule02(), rule03(), rule04(), rule05(), rule06(), rule07(), rule08(), rule09(), rule10(), rule11(), rule12(), rule13(), optional(), modelChecks(), loadChecks(),
	))
}

// expand gives each check with Both its variant with a peer.
func expand(list []check) (all []check) {
	for _, ck := range list {
		alone := ck
		alone.Both = false
		all = append(all, alone)
		if ck.Both {
			peer := alone
			peer.Peer = true
			peer.Name += "_from_peer"
			peer.Doc = fmt.Sprintf("%s The writer is another process.", peer.Doc)
			all = append(all, peer)
		}
	}
	return all
}
