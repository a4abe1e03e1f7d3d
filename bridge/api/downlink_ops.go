package api

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"m2mbridge/auth"
	"m2mbridge/bridge/downlink"
)

// outbox is the resource of downlinks at one path: all of them, or those of one
// channel, as KPN Things has them.
type outbox struct {
	*API
	path    string
	channel downlink.Channel // "": all of them
}

func (a *API) addDownlinks() {
	for _, o := range []outbox{
		{a, "/v1/downlinks", ""}, {a, "/http/downlinks", downlink.HTTP}, {a, "/mqtt/downlinks", downlink.MQTT}, {a, "/sms/downlinks", downlink.SMS},
		{a, smsPath, downlink.SMS},
	} {
		o.addCreate()
		o.addList()
		o.addOne()
	}
}

// smsPath is where SMS are called so; /sms/downlinks is the same.
const smsPath = "/v1/sms"

// operation names an operation of the path.
func (o *outbox) operation(verb, noun, method, path, summary, description string) huma.Operation {
	op := huma.Operation{Method: method, Path: o.path + path, Description: description, Tags: []string{"downlinks"}}
	op.OperationID, op.Summary = verb+"-"+noun, summary
	switch {
	case o.path == smsPath:
		op.OperationID, op.Summary = verb+"-sms", strings.NewReplacer("a downlink", "an SMS", "downlinks", "SMS").Replace(summary)
		op.Description += " The same as under /sms/downlinks."
	case o.channel != "":
		op.OperationID = verb + "-" + string(o.channel) + "-" + noun
		op.Summary += " over " + strings.ToUpper(string(o.channel))
		op.Description += " The same as under /v1/downlinks, of channel " + string(o.channel) + " only."
	}
	op.Description = strings.TrimSpace(op.Description)
	return op
}

func (o *outbox) addCreate() {
	description := "It is answered with 200 where its idempotency key has made it before."
	if o.channel == downlink.SMS {
		description = "It has one of `text`, `data` and `pack`, and the device an MSISDN. " + description
	}
	op := o.operation("create", "downlink", http.MethodPost, "", "Create a downlink", description)
	op.DefaultStatus, op.Errors = http.StatusCreated, []int{http.StatusConflict}
	op.Responses = map[string]*huma.Response{"200": {Description: "It was there already"}}
	register(o.API, op, []auth.Scope{auth.ScopeDownlinkWrite}, o.create)
	made := op.Responses["201"]
	op.Responses["200"].Content, op.Responses["200"].Headers = made.Content, made.Headers
}

func (o *outbox) addList() {
	op := o.operation("list", "downlinks", http.MethodGet, "", "List downlinks", "Those that have ended are kept for seven days. "+
		"A page may be shorter than asked, even empty, where few of many match: the cursor says whether there is more.")
	read := []auth.Scope{auth.ScopeDownlinkRead}
	if o.channel == "" {
		register(o.API, op, read, o.listAll)
		return
	}
	register(o.API, op, read, o.list)
}

func (o *outbox) addOne() {
	op := o.operation("get", "downlink", http.MethodGet, "/{id}", "Get a downlink", "With its timeline: what happened to it, in order.")
	op.Errors = []int{http.StatusNotFound}
	register(o.API, op, []auth.Scope{auth.ScopeDownlinkRead}, o.get)
	op = o.operation("cancel", "downlink", http.MethodDelete, "/{id}", "Cancel a downlink",
		"One that is being handed over, or has ended, cannot be cancelled: that is 409. Afterwards it is kept for seven days, as CANCELLED. "+
			"An SMS that was accepted may arrive all the same: its cause says so.")
	op.DefaultStatus, op.Errors = http.StatusNoContent, []int{http.StatusNotFound, http.StatusConflict}
	register(o.API, op, []auth.Scope{auth.ScopeDownlinkWrite}, o.cancel)
}

type createDownlinkInput struct{ Body DownlinkInput }

type createdDownlink struct {
	Status   int
	Location string `header:"Location" doc:"Path of the downlink"`
	Body     Downlink
}

func (o *outbox) create(ctx context.Context, in *createDownlinkInput) (*createdDownlink, error) {
	id, err := parseDevice("body.device", in.Body.Device)
	if err != nil {
		return nil, err
	}
	if err := o.settle(&in.Body); err != nil {
		return nil, err
	}
	app := callerOf(ctx).app
	d, err := in.Body.draft(app.Name)
	if err != nil {
		return nil, err
	}
	if err := o.seen(ctx, id); err != nil {
		return nil, err
	}
	d.Device = id
	made, fresh, err := o.downlinks.Create(ctx, d)
	if err != nil {
		return nil, err
	}
	out := &createdDownlink{Status: http.StatusOK, Location: o.path + "/" + made.ID}
	if fresh {
		out.Status = http.StatusCreated
	}
	out.Body, err = o.showDownlink(ctx, &made)
	return out, err
}

// settle fixes the channel of a downlink to be created.
func (o *outbox) settle(in *DownlinkInput) error {
	channel := downlink.Channel(in.Channel)
	switch {
	case channel == "" && o.channel == "":
		channel = downlink.Any
	case channel == "":
		channel = o.channel
	case o.channel != "" && channel != o.channel:
		return invalid("body.channel", "under "+o.path+" it is "+string(o.channel)+"; other channels are under /v1/downlinks", "")
	}
	in.Channel = string(channel)
	return nil
}

// DownlinkParam is the downlink that a path names.
type DownlinkParam struct {
	ID string `path:"id" doc:"Downlink id" example:"0-mih6f3x9wq7f2m4c6s8t2" maxLength:"100"`
}

type oneDownlink struct{ Body Downlink }

func (o *outbox) get(ctx context.Context, in *DownlinkParam) (*oneDownlink, error) {
	d, err := o.known(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	shown, err := o.showDownlinkWhole(ctx, &d)
	if err != nil {
		return nil, err
	}
	return &oneDownlink{shown}, nil
}

func (o *outbox) cancel(ctx context.Context, in *DownlinkParam) (*struct{}, error) {
	if _, err := o.known(ctx, in.ID); err != nil {
		return nil, err
	}
	return nil, o.downlinks.Cancel(ctx, in.ID, "cancelled by app "+callerOf(ctx).app.Name)
}

// known reads a downlink. One of a device that the app may not see, or did not
// when it was created, or of a channel that is not the path's, does not exist there.
func (o *outbox) known(ctx context.Context, id string) (downlink.Downlink, error) {
	d, err := o.downlinks.Get(ctx, id)
	if err != nil {
		return d, err
	}
	ok, err := o.registry.SeesAt(ctx, callerOf(ctx).app, d.Device, d.CreatedAt)
	if err == nil && (!ok || o.channel != "" && d.Channel != o.channel) {
		err = downlink.ErrUnknown
	}
	return d, err
}

// invalidDownlink names what of a body the rules of downlinks refuse.
func invalidDownlink(err error) error {
	text := strings.TrimPrefix(err.Error(), downlink.ErrInvalid.Error()+": ")
	field, message, _ := strings.Cut(text, ": ")
	if slices.Contains([]string{"channel", "ttl", "notBefore", "priority", "idempotencyKey", "pack", "text", "data", "wake", "ack"}, field) {
		return invalid("body."+field, message, "")
	}
	return huma.Error422UnprocessableEntity(text)
}
