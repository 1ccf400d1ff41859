package wire

import "github.com/presence-router/presence-router/routing/presence"

// FNV-1a with 32 bits, as hash/fnv has it: written out here because it runs over
// tokens that are never put into memory.
const (
	fnvOffset uint32 = 2166136261
	fnvPrime  uint32 = 16777619
)

// Partition returns the partition that user's updates are in, from 0 to
// partitions-1: FNV-1a-32 of the server token and the localpart token run
// together, modulo partitions. The server computes the same with
// {{partition(P,1,2)}}. It panics where partitions is less than 1.
func Partition(user presence.UserID, partitions int) int {
	return bucket(hashUser(user), partitions)
}

// Shard returns the shard that recipient's deliveries are in, from 0 to shards-1:
// for Remote that of the recipient's server, for Local that of the recipient. It
// panics where shards is less than 1.
func Shard(scope Scope, recipient presence.UserID, shards int) int {
	if scope == Remote {
		return bucket(hashToken(fnvOffset, recipient.Server().String()), shards)
	}
	return bucket(hashUser(recipient), shards)
}

func bucket(hash uint32, buckets int) int {
	if buckets < 1 {
		panic("wire: less than one partition or shard")
	}
	return int(uint64(hash) % uint64(buckets)) //nolint:gosec // Less than buckets, which is an int.
}

func hashUser(user presence.UserID) uint32 {
	return hashToken(hashToken(fnvOffset, user.Server().String()), user.Localpart())
}

// hashToken carries hash on over the bytes of EncodeToken(s).
func hashToken(hash uint32, s string) uint32 {
	if s == "" {
		return hashByte(hash, '%')
	}
	for i := range len(s) {
		c := s[i]
		if isTokenByte(c) {
			hash = hashByte(hash, c)
			continue
		}
		hash = hashByte(hash, '%')
		hash = hashByte(hash, upperHex[c>>4])
		hash = hashByte(hash, upperHex[c&15])
	}
	return hash
}

func hashByte(hash uint32, c byte) uint32 { return (hash ^ uint32(c)) * fnvPrime }
