package api

import (
	"context"
	"strings"

	"m2mbridge/bridge/downlink"
)

// DownlinkListParams say which downlinks a list has.
type DownlinkListParams struct {
	ListParams
	Sort     string   `query:"sort" enum:"createdAt,-createdAt" default:"-createdAt" doc:"Order; - turns it round: the newest first"`
	Device   string   `query:"device" maxLength:"100" doc:"Only this device's" example:"IMEI:356726104408422"`
	DeviceID string   `query:"deviceId" maxLength:"100" doc:"The same as device"`
	State    []string `query:"state" nullable:"false" maxItems:"6" enum:"QUEUED,EXECUTING,SUCCEEDED,FAILED,EXPIRED,CANCELLED" doc:"Only those in one of these states"`
}

// AllDownlinksParams are those of downlinks of all channels.
type AllDownlinksParams struct {
	DownlinkListParams
	Channel []string `query:"channel" nullable:"false" maxItems:"4" enum:"http,mqtt,sms,any" doc:"Only those of one of these channels"`
}

type downlinkPage struct{ Body Page[Downlink] }

func (o *outbox) listAll(ctx context.Context, in *AllDownlinksParams) (*downlinkPage, error) {
	return o.page(ctx, &in.DownlinkListParams, in.Channel)
}

func (o *outbox) list(ctx context.Context, in *DownlinkListParams) (*downlinkPage, error) {
	return o.page(ctx, in, []string{string(o.channel)})
}

func (o *outbox) page(ctx context.Context, in *DownlinkListParams, channels []string) (*downlinkPage, error) {
	q, err := in.query(channels)
	if err != nil {
		return nil, err
	}
	app := callerOf(ctx).app
	if q.Device != "" {
		if err := o.seen(ctx, q.Device); err != nil {
			return nil, err
		}
	}
	if len(app.Devices) > 0 {
		q.Sees = func(d *downlink.Downlink) (bool, error) { return o.registry.SeesAt(ctx, app, d.Device, d.CreatedAt) }
	}
	found, next, err := o.downlinks.List(ctx, q)
	if err != nil {
		return nil, err
	}
	shown, err := o.showDownlinks(ctx, found)
	if err != nil {
		return nil, err
	}
	return &downlinkPage{Page[Downlink]{Items: shown, Cursor: next}}, nil
}

func (p *DownlinkListParams) query(channels []string) (downlink.Query, error) {
	q := downlink.Query{
		After: p.Cursor, Limit: p.Limit, Reverse: strings.HasPrefix(p.Sort, "-"),
		CreatedSince: p.CreatedSince, CreatedBefore: p.CreatedBefore, ModifiedSince: p.ModifiedSince, ModifiedBefore: p.ModifiedBefore,
	}
	for _, s := range p.State {
		q.States = append(q.States, downlink.State(s))
	}
	for _, c := range channels {
		q.Channels = append(q.Channels, downlink.Channel(c))
	}
	if strings.Trim(p.Cursor, "0123456789abcdefghijklmnopqrstuvwxyz") != "" {
		return q, invalid("query.cursor", "it is no cursor of a list of downlinks", p.Cursor)
	}
	text, location := p.Device, "query.device"
	if text == "" {
		text, location = p.DeviceID, "query.deviceId"
	} else if p.DeviceID != "" && p.DeviceID != p.Device {
		return q, invalid("query.deviceId", "deviceId and device are the same parameter: give one of them", p.DeviceID)
	}
	if text == "" {
		return q, nil
	}
	var err error
	q.Device, err = parseDevice(location, text)
	return q, err
}
