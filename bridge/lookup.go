package bridge

import (
	"context"
	"time"

	"m2mbridge/auth"
	"m2mbridge/bridge/api"
	"m2mbridge/bridge/latest"
	"m2mbridge/bridge/presence"
	"m2mbridge/bridge/uplink"
)

// attachedKeys are what is kept of a device beside its entry in the registry, and goes with it.
func attachedKeys(keys auth.Keyspace) func(auth.DeviceID) []string {
	return func(id auth.DeviceID) []string { return append(uplink.StateKeys(keys, id), latest.Key(keys, id)) }
}

// activities are what the uplink path knows of devices, as the API shows it.
type activities struct{ *uplink.Reader }

func (a activities) Look(ctx context.Context, ids []auth.DeviceID) ([]api.Activity, error) {
	all, err := a.Seen(ctx, ids)
	if err != nil {
		return nil, err
	}
	shown := make([]api.Activity, len(all))
	for i, s := range all {
		shown[i].Counters = api.Counters{Uplinks: s.Uplinks, Repeats: s.Repeats, Heartbeats: s.Heartbeats, Refused: s.Refused}
		if !s.At.IsZero() {
			shown[i].LastSeen = &api.Seen{At: s.At, Via: string(s.Via), Uplink: s.StreamID}
		}
	}
	return shown, nil
}

// presences are which devices are online, as the API shows it.
type presences struct{ *presence.Presence }

func (p presences) Look(ctx context.Context, ids []auth.DeviceID) ([]*api.Presence, error) {
	known, err := p.Get(ctx, ids)
	if err != nil {
		return nil, err
	}
	shown := make([]*api.Presence, len(ids))
	for i, id := range ids {
		if s, ok := known[id]; ok {
			shown[i] = &api.Presence{State: s.State, Via: s.Via, Since: s.Since.Truncate(time.Millisecond), Cause: s.Cause}
		}
	}
	return shown, nil
}

// values are the latest of each name, as the API shows them.
type values struct{ *latest.Reader }

func (v values) Values(ctx context.Context, id auth.DeviceID) ([]api.Value, error) {
	all, err := v.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	shown := make([]api.Value, len(all))
	for i, x := range all {
		shown[i] = api.Value{Name: x.Name, Value: x.Value, Sum: x.Sum, Unit: x.Unit, Cut: x.Cut, Time: x.Time, Uplink: x.ID}
	}
	return shown, nil
}
