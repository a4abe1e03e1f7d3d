package api

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"m2mbridge/auth"
	"m2mbridge/bridge/downlink"
)

// showDownlink shows one downlink, with how many go before it.
func (a *API) showDownlink(ctx context.Context, d *downlink.Downlink) (Downlink, error) {
	shown, err := a.showDownlinks(ctx, []downlink.Downlink{*d})
	if err != nil {
		return Downlink{}, err
	}
	if waitsForTurn(d) {
		n, err := a.downlinks.Ahead(ctx, d)
		if err != nil {
			return Downlink{}, err
		}
		shown[0].Reason += ", " + strconv.FormatInt(n, 10) + " before it"
	}
	return shown[0], nil
}

// showDownlinkWhole is showDownlink with all that happened to it.
func (a *API) showDownlinkWhole(ctx context.Context, d *downlink.Downlink) (Downlink, error) {
	steps, err := a.downlinks.Timeline(ctx, d.ID)
	if err != nil {
		return Downlink{}, err
	}
	shown, err := a.showDownlink(ctx, d)
	for _, s := range steps {
		shown.Timeline = append(shown.Timeline, DownlinkStep{s.At, s.What, s.Text})
	}
	return shown, err
}

// showDownlinks shows several, each with what it waits for.
func (a *API) showDownlinks(ctx context.Context, list []downlink.Downlink) ([]Downlink, error) {
	presences, err := a.presencesOf(ctx, list)
	if err != nil {
		return nil, err
	}
	shown := make([]Downlink, len(list))
	for i := range list {
		shown[i] = showDownlink(&list[i])
		shown[i].Reason = reasonOf(&list[i], presences[list[i].Device]) + a.smsReason(&list[i])
	}
	return shown, nil
}

// presencesOf are those of the devices that a connection is awaited of. Who may
// read neither uplinks nor events is not told.
func (a *API) presencesOf(ctx context.Context, list []downlink.Downlink) (map[auth.DeviceID]*Presence, error) {
	app := callerOf(ctx).app
	if a.presences == nil || !app.Has(auth.ScopeUplinkRead) && !app.Has(auth.ScopeDownlinkRead) {
		return nil, nil
	}
	known := map[auth.DeviceID]*Presence{}
	var ids []auth.DeviceID
	for i := range list {
		d := &list[i]
		if _, ok := known[d.Device]; !ok && waitsForContact(d) && (d.Channel == downlink.MQTT || d.Channel == downlink.Any) {
			known[d.Device] = nil
			ids = append(ids, d.Device)
		}
	}
	if len(ids) == 0 {
		return nil, nil
	}
	all, err := a.presences.Look(ctx, ids)
	if err != nil {
		return nil, err
	}
	for i, id := range ids {
		known[id] = all[i]
	}
	return known, nil
}

func waitsForTurn(d *downlink.Downlink) bool {
	return d.State == downlink.Queued && !d.NotBefore.After(time.Now())
}

func waitsForContact(d *downlink.Downlink) bool {
	return d.State == downlink.Executing && d.LeaseEnds.IsZero()
}

// reasonOf says why a downlink is not moving, but for what smsReason adds; "" of
// one that has ended. p is nil where nothing is known.
func reasonOf(d *downlink.Downlink, p *Presence) string {
	switch {
	case d.State.Final():
		return ""
	case waitsForTurn(d):
		return "waits for its turn"
	case d.State == downlink.Queued:
		return "waits until " + instant(d.NotBefore)
	case d.Taken && d.Channel == downlink.SMS:
		return "waits until " + instant(d.LeaseEnds) + " for the device to acknowledge it; then the next attempt by SMS is made"
	case d.Taken:
		return "waits until " + instant(d.LeaseEnds) + " for the device to acknowledge it; then it is handed over again"
	case !waitsForContact(d):
		return fmt.Sprintf("attempt %d under way over %s since %s, its outcome awaited until %s",
			d.Attempts, strings.ToUpper(string(d.Via)), instant(d.HandedAt), instant(d.LeaseEnds))
	case d.Channel == downlink.SMS:
		return "waits for "
	case d.Channel == downlink.HTTP:
		return "waits for the device's next uplink over HTTP"
	case d.Channel == downlink.MQTT:
		return "waits for the device to be connected over MQTT and subscribed" + connected(p)
	}
	return "waits for the device's next uplink over HTTP, or for it to be connected over MQTT and subscribed" + connected(p)
}

// connected says what is known of a device's connection over MQTT; contacts over
// HTTP tell nothing of it.
func connected(p *Presence) string {
	if p == nil || p.Via == "http" {
		return ""
	}
	text := ": it is " + p.State + " since " + instant(p.Since)
	if p.Cause != "" {
		text += ", " + p.Cause
	}
	return text
}

func instant(t time.Time) string { return t.UTC().Format(time.RFC3339) }
