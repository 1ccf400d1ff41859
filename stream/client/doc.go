// Package client is for programs on both sides of the presence router: homeservers
// that publish updates (Publisher), federation senders and sync workers that read
// deliveries (Deliveries, Durable, View), and whoever asks the routers
// (InterestedUsers, UsersForStates, SendOnlinePresence, CurrentStates).
//
// All of it works over one *nats.Conn of the caller's. The subjects and the JSON
// that it speaks are in docs/wire.md; sequences are those of the streams, times
// are milliseconds since the epoch where they are numbers. What reads and waits is
// bounded by the ctx it is given, and ends with it.
//
// # Order and exactly once
//
// Updates of one user are stored in the order in which they were published,
// whatever fails: a Publisher sends the next one when the one before it has an
// outcome. An update with an ID is published again until the server has answered,
// and stored once within the stream's duplicate window. One without an ID is
// published again only where it is certain that it was not stored; where that is
// unknown, ErrUnknownOutcome says so, and it may even be stored behind later ones.
//
// Deliveries yields each delivery once, in the order of the stream, without a gap,
// from any Position on. Durable yields each until it is acknowledged. Replays
// (SendOnlinePresence) and Durable repeat states; a View drops what it has.
package client
