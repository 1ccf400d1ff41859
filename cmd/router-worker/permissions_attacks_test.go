package main_test

import (
	"fmt"
	"slices"
	"strings"
)

// insiders are the users of the router's account, outsiders those of others.
var (
	insiders  = []string{"worker", nkeyUser, "operator", "status", "dead"}                                                       //nolint:gochecknoglobals // Never written to.
	outsiders = []string{"homeserver", "asker", "archive", "local", "alice", "island", "feed", "federate", "source", "follower"} //nolint:gochecknoglobals // As above.
)

// filterOf returns the filter that a reader's consumer may have, "" for users who do
// not read.
func filterOf(user string) string {
	return map[string]string{
		"archive": "presence.deliver.>", "local": "presence.deliver.local.>", "feed": "presence.deliver.local.>",
		"alice": "presence.deliver.*.*.example%2Ecom.alice", "island": "presence.deliver.*.*.island%2Eexample.*",
		"federate": "presence.deliver.remote.>",
	}[user]
}

// entitled returns the subjects that user may publish to, said apart from the page.
func entitled(user string) []string {
	reads := func(consumer string, verbs ...string) []string {
		subjects := []string{"presence.js.STREAM.INFO.PRESENCE_DELIVERIES", "presence.js.CONSUMER.CREATE.PRESENCE_DELIVERIES." + consumer + "." + filterOf(consumer)}
		for _, verb := range verbs {
			subjects = append(subjects, "presence.js.CONSUMER."+verb+".PRESENCE_DELIVERIES."+consumer)
		}
		return subjects
	}
	looks := []string{
		"$JS.API.STREAM.INFO.*", "$JS.API.STREAM.MSG.GET.KV_PRESENCE_WORKERS", "$JS.API.STREAM.MSG.GET.PRESENCE_DELIVERIES",
		"$JS.API.CONSUMER.CREATE.KV_PRESENCE_WORKERS.*.$KV.PRESENCE_WORKERS.>", "$JS.API.CONSUMER.DELETE.KV_PRESENCE_WORKERS.*",
	}
	writes := slices.Concat(looks, []string{"presence.checkpoint.*", "$KV.PRESENCE_WORKERS.*", "$JS.API.STREAM.MSG.GET.PRESENCE_UPDATES"})
	switch user {
	case "worker":
		return append(writes, "presence.deliver.*.*.*.*", "presence.dead.*",
			"$JS.API.DIRECT.GET.PRESENCE_UPDATES", "$JS.API.DIRECT.GET.PRESENCE_DELIVERIES", "$JS.API.DIRECT.GET.PRESENCE_STATE",
			"$JS.API.CONSUMER.CREATE.PRESENCE_UPDATES.*.presence.*.*.*.*", "$JS.API.CONSUMER.MSG.NEXT.PRESENCE_UPDATES.*", "$JS.API.CONSUMER.DELETE.PRESENCE_UPDATES.*")
	case nkeyUser:
		return []string{"_R_.>"}
	case "operator":
		return append(writes, "$JS.API.STREAM.CREATE.*", "$JS.API.STREAM.UPDATE.*")
	case "status":
		return append(looks, "$JS.API.DIRECT.GET.PRESENCE_UPDATES")
	case "dead":
		return []string{
			"presence.update.*.*", "$JS.API.STREAM.INFO.PRESENCE_DEAD", "$JS.API.DIRECT.GET.PRESENCE_DEAD",
			"$JS.API.STREAM.MSG.DELETE.PRESENCE_DEAD", "$JS.API.STREAM.PURGE.PRESENCE_DEAD",
		}
	case "homeserver":
		return []string{"presence.update.example%2Ecom.*"}
	case "asker":
		return []string{"presence.router.interested_users", "presence.router.users_for_states", "presence.router.send_online_presence", "presence.router.current_states"}
	case "source":
		return []string{"presence.update.example%2Ecom.*", "presence.js.DIRECT.GET.PRESENCE_STATE.presence.state.example%2Ecom.*"}
	case "follower":
		const consumer = "DendriteOutputPresenceEvent.presence-router"
		return []string{
			"$JS.API.STREAM.INFO.DendriteOutputPresenceEvent", "$JS.API.CONSUMER.CREATE." + consumer + ".DendriteOutputPresenceEvent",
			"$JS.API.CONSUMER.INFO." + consumer, "$JS.API.CONSUMER.MSG.NEXT." + consumer, "$JS.API.CONSUMER.UNPIN." + consumer, "$JS.ACK." + consumer + ".>",
		}
	case "feed":
		return append(reads(user, "MSG.NEXT"), "$JS.ACK.PRESENCE_DELIVERIES.feed.>")
	case "federate":
		return append(reads(user, "MSG.NEXT", "UNPIN"), "$JS.ACK.PRESENCE_DELIVERIES.federate.>")
	default:
		return reads(user, "MSG.NEXT", "INFO", "DELETE")
	}
}

// targets returns subjects that change something, or tell something, for whoever may
// publish to them.
func targets() []string {
	subjects := []string{
		"presence.update.example%2Ecom.mallory", "presence.update.other%2Eorg.mallory", "presence.update.3.example%2Ecom.mallory",
		"presence.deliver.local.3.example%2Ecom.alice", "presence.deliver.x", "presence.dead.malformed", "presence.checkpoint.0",
		"presence.state.example%2Ecom.mallory", "$KV.PRESENCE_WORKERS.mallory", "$KV.PRESENCE_WORKERS.deployment/layout",
		"presence.router.interested_users", "presence.router.users_for_states", "presence.router.send_online_presence", "presence.router.current_states",
		"presence.router.x", "$SRV.PING", "$SRV.STATS.presence-router", "_INBOX.worker.x.y", "_INBOX.archive.x.y", "_R_.x", "$SYS.REQ.SERVER.PING",
		"presence.update.example%2Ecom.mallory.x", "presence.deliver.local", "presence.deliver.local.3", "presence.deliver.local.3.x",
		"presence.deliver.local.3.example%2Ecom.alice.x", "presence.dead.malformed.x", "presence.checkpoint.0.x",
		"$KV.OTHER.mallory", "$KV.PRESENCE_WORKERS.mallory.x",
		"$JS.FC.PRESENCE_DELIVERIES.feed.x", "$JSC.CI.ROUTER.PRESENCE_DELIVERIES.feed",
	}
	for _, api := range []string{"$JS.API.", "presence.js."} {
		subjects = append(subjects, api+"INFO", api+"STREAM.NAMES", api+"STREAM.LIST", api+"STREAM.CREATE.MALLORY", api+"META.LEADER.STEPDOWN")
		for _, stream := range []string{"PRESENCE_UPDATES", "PRESENCE_DELIVERIES", "PRESENCE_DEAD", "PRESENCE_STATE", "KV_PRESENCE_WORKERS"} {
			for verb := range strings.FieldsSeq("INFO UPDATE DELETE PURGE MSG.GET MSG.DELETE SNAPSHOT RESTORE LEADER.STEPDOWN PEER.REMOVE") {
				subjects = append(subjects, api+"STREAM."+verb+"."+stream)
			}
			for verb := range strings.FieldsSeq("STREAM.INFO STREAM.CREATE STREAM.UPDATE CONSUMER.INFO CONSUMER.DELETE CONSUMER.MSG.NEXT") {
				subjects = append(subjects, api+verb+"."+stream+".mallory.x")
			}
			for _, filter := range []string{"$KV.OTHER.>", "presence.update.3.example%2Ecom.bob.x", "presence.dead.malformed.x"} {
				subjects = append(subjects, api+"CONSUMER.CREATE."+stream+".mallory."+filter)
			}
			subjects = append(subjects, api+"DIRECT.GET."+stream, api+"DIRECT.GET."+stream+".presence.checkpoint.0",
				api+"CONSUMER.NAMES."+stream, api+"CONSUMER.LIST."+stream, api+"CONSUMER.CREATE."+stream, api+"CONSUMER.CREATE."+stream+".mallory",
				api+"CONSUMER.CREATE."+stream+".mallory.presence.deliver.local.>")
		}
		for _, consumer := range outsiders {
			subjects = append(subjects, consumerTargets(api, consumer)...)
		}
		for _, user := range []string{"example%2Ecom.bob.x", "other%2Eorg.bob", "example%2Ecom"} {
			subjects = append(subjects, api+"DIRECT.GET.PRESENCE_STATE.presence.state."+user)
		}
	}
	return append(subjects, dendriteTargets()...)
}

// dendriteTargets are those of Dendrite's account.
func dendriteTargets() []string {
	subjects := []string{"DendriteOutputPresenceEvent", "DendriteOutputPresenceEvent.x", "DendriteGetPresence", "$JS.ACK.DendriteOutputPresenceEvent.mallory.1.1.1.1.0"}
	const api = "$JS.API."
	for verb := range strings.FieldsSeq("UPDATE DELETE PURGE MSG.GET MSG.DELETE SNAPSHOT") {
		subjects = append(subjects, api+"STREAM."+verb+".DendriteOutputPresenceEvent")
	}
	for verb := range strings.FieldsSeq("CREATE INFO MSG.NEXT UNPIN DELETE") {
		subjects = append(subjects, api+"CONSUMER."+verb+".DendriteOutputPresenceEvent.mallory", api+"CONSUMER."+verb+".Other.presence-router")
	}
	return append(subjects, api+"CONSUMER.DELETE.DendriteOutputPresenceEvent.presence-router", api+"CONSUMER.CREATE.DendriteOutputPresenceEvent.presence-router",
		api+"CONSUMER.CREATE.DendriteOutputPresenceEvent.presence-router.>")
}

func consumerTargets(api, consumer string) []string {
	var subjects []string
	for verb := range strings.FieldsSeq("CREATE DURABLE.CREATE MSG.NEXT INFO DELETE UNPIN PAUSE RESET LEADER.STEPDOWN") {
		subjects = append(subjects, api+"CONSUMER."+verb+".PRESENCE_DELIVERIES."+consumer)
	}
	for _, filter := range []string{
		"presence.deliver.>", "presence.deliver.local.>", "presence.deliver.remote.>", "presence.deliver.*.*.example%2Ecom.bob", ">",
		"presence.checkpoint.*", "presence.>.*.example%2Ecom.alice", "presence.deliver.*.*.island%2Eexample.eva.x",
	} {
		subjects = append(subjects, api+"CONSUMER.CREATE.PRESENCE_DELIVERIES."+consumer+"."+filter)
	}
	return append(subjects,
		"$JS.ACK.PRESENCE_DELIVERIES."+consumer+".1.1.1.1.0",
		"$JS.ACK._.hash.PRESENCE_DELIVERIES."+consumer+".1.1.1.1.0.x")
}

// overheard are subjects that tell something to whoever may subscribe to them. The
// worker may hear heartbeats and queries.
func overheard() []string {
	subjects := []string{
		">", "*.>", "presence.>", "presence.update.>", "presence.deliver.>", "presence.deliver.local.14.*.alice", "presence.checkpoint.*",
		"$JS.>", "$JS.EVENT.>", "$SYS.>", "_INBOX.>", "_INBOX.*.>", "_R_.>", "presence.js.>",
	}
	for _, user := range slices.Concat(insiders, outsiders) {
		subjects = append(subjects, "_INBOX."+user+"x.>", "_INBOX.*."+user)
	}
	return subjects
}

// replies are subjects that a server or a worker is not to answer to.
func replies() []string {
	return []string{
		"presence.checkpoint.0", "presence.deliver.local.3.example%2Ecom.alice", "presence.dead.malformed", "presence.update.other%2Eorg.mallory",
		"$KV.PRESENCE_WORKERS.mallory", "$KV.PRESENCE_WORKERS.deployment/layout", "presence.router.current_states",
		"$JS.API.STREAM.DELETE.PRESENCE_STATE", "$JS.API.STREAM.PURGE.PRESENCE_UPDATES", "$JS.API.CONSUMER.DELETE.PRESENCE_DELIVERIES.feed",
		"$JS.ACK.PRESENCE_DELIVERIES.feed.1.1.1.1.0", "$SRV.PING", "_R_.x", "_INBOX.worker.x",
		// Of fast ingest, to which the server answers otherwise than to others.
		"_INBOX.worker.x.id.1000.fail.1.0.$FI", "presence.deliver.local.id.1000.fail.1.0.$FI", "$KV.PRESENCE_WORKERS.id.1000.ok.1.2.$FI",
	}
}

// headers are what the server or a worker could take for an order, alone and together.
func headers() []string {
	return []string{
		"Nats-TTL: 1s", "Nats-Rollup: all", "Nats-Rollup: sub", "Nats-Schedule: @every 1s", "Nats-Schedule-Target: presence.checkpoint.0",
		"Nats-Schedule-Source: presence.checkpoint.0", "Nats-Msg-Id: 1", "Nats-Expected-Stream: PRESENCE_DELIVERIES", "Nats-Expected-Last-Sequence: 0",
		"Nats-Expected-Last-Subject-Sequence: 0", "Nats-Expected-Last-Subject-Sequence-Subject: presence.checkpoint.0", "Nats-Expected-Last-Msg-Id: 1",
		"Nats-Batch-Id: 1", "Nats-Batch-Sequence: 1", "Nats-Batch-Commit: 1", "Nats-Incr: +1", "Nats-Stream-Source: PRESENCE_DELIVERIES 1 > >",
		"Nats-Stream: PRESENCE_DELIVERIES", "Nats-Subject: presence.checkpoint.0", "Nats-Sequence: 1", "Nats-Marker-Reason: Remove", "KV-Operation: PURGE",
		"Nats-Trace-Dest: presence.checkpoint.0", "Nats-Trace-Only: true", `Nats-Request-Info: {"acc":"ROUTER","svc":"ROUTER"}`,
		`Nats-Request-Info: {"acc":"$SYS","svc":"$SYS"}`, "Nats-Required-Api-Level: 99", "Nats-Pin-Id: x",
		"Nats-Schedule: @every 1s\nNats-Schedule-Target: presence.checkpoint.0\nNats-Schedule-TTL: 1m",
		"Nats-Batch-Id: mallory\nNats-Batch-Sequence: 1\nNats-Batch-Commit: 1", "Nats-Trace-Dest: presence.checkpoint.0\nNats-Trace-Only: true",
		"Nats-Expected-Last-Subject-Sequence: 1\nNats-Expected-Last-Subject-Sequence-Subject: presence.checkpoint.0",
		"Presence-Replay: 1", "Presence-Source: 0/1-1", "Nats-Service-Error-Code: 500", "Status: 503", "Traceparent: x",
	}
}

// consumerBodies are what a reader may write into the request that makes his
// consumer: other filters than that of the subject, and subjects to push to.
func consumerBodies(name, filter string) []string {
	const body = `{"stream_name":%q,"action":"","config":{"name":%q,"durable_name":%q,"ack_policy":"none","deliver_policy":"all","mem_storage":true,%s}}`
	bodies := []string{
		fmt.Sprintf(body, "PRESENCE_DELIVERIES", name, "", `"filter_subject":"presence.deliver.>"`),
		fmt.Sprintf(body, "PRESENCE_DELIVERIES", name, "", `"filter_subject":"presence.checkpoint.*"`),
		fmt.Sprintf(body, "PRESENCE_DELIVERIES", name, "", `"filter_subjects":["presence.deliver.remote.>","presence.checkpoint.*"]`),
		fmt.Sprintf(body, "PRESENCE_DELIVERIES", name, "", fmt.Sprintf(`"filter_subject":%q,"filter_subjects":["presence.checkpoint.*"]`, filter)),
		fmt.Sprintf(body, "PRESENCE_DELIVERIES", name, "", `"description":"no filter"`),
		fmt.Sprintf(body, "PRESENCE_DELIVERIES", "mallory", "", fmt.Sprintf(`"filter_subject":%q`, filter)),
		fmt.Sprintf(body, "PRESENCE_DELIVERIES", "", "mallory", fmt.Sprintf(`"filter_subject":%q`, filter)),
		fmt.Sprintf(body, "PRESENCE_UPDATES", name, "", `"filter_subject":"presence.update.>"`),
		fmt.Sprintf(body, "PRESENCE_DELIVERIES", name, "", fmt.Sprintf(`"filter_subject":%q,"description":%q`, filter, strings.Repeat("x", 500_000))),
		"{}", "null", "", strings.Repeat("[", 500_000),
	}
	for _, to := range append(replies(), "_INBOX.archive.x", "presence.update.example%2Ecom.mallory", "presence.state.example%2Ecom.mallory", "presence.js.STREAM.INFO.PRESENCE_DELIVERIES") {
		push := `"filter_subject":%q,"deliver_subject":%q,"idle_heartbeat":100000000,"flow_control":true`
		bodies = append(bodies, fmt.Sprintf(body, "PRESENCE_DELIVERIES", name, "", fmt.Sprintf(push, filter, to)))
	}
	return bodies
}
