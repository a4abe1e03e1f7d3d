// An SMSC of npm's package smpp, which misbehaves as it is told: node smsc.js '{"seed":1,…}'
//
// It prints a JSON line for all that happens, first the port it listens on.
//
//   seed      of all chance
//   lose      how likely the connection ends before a message is looked at, and as likely after it was accepted and not answered
//   refuse    how likely a message is refused with ESME_RSYSERR, and half as likely with ESME_RTHROTTLED
//   permanent a destination that ends so is refused with ESME_RINVDSTADR
//   wrong     how likely the answer is preceded by one to nothing, and by bytes of a PDU that cannot be
//   delay     ms that an answer takes at most
//   deliver   how likely a receipt says DELIVRD, else UNDELIV or EXPIRED
//   silent    how likely there is no receipt
//   twice     how likely a receipt comes twice
//   receipt   ms until a receipt at most; one in four is sent before the answer
'use strict'
const smpp = require('smpp')
const o = Object.assign({ seed: 1, lose: 0, refuse: 0, permanent: '', wrong: 0, delay: 0, deliver: 1, silent: 0, twice: 0, receipt: 50 }, JSON.parse(process.argv[2] || '{}'))

let state = o.seed >>> 0
function chance() { // mulberry32
  state = (state + 0x6d2b79f5) >>> 0
  let t = state
  t = Math.imul(t ^ (t >>> 15), t | 1)
  t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
  return ((t ^ (t >>> 14)) >>> 0) / 4294967296
}
const likely = p => chance() < p
const note = line => process.stdout.write(JSON.stringify(Object.assign({ at: Date.now() }, line)) + '\n')

const bound = new Set()
let ids = 1000

// A receipt is kept until somebody says that it was taken.
function receipt(r) {
  const session = [...bound][0]
  if (!session) return setTimeout(receipt, 50, r)
  let told = false
  const again = () => { if (!told) { told = true; setTimeout(receipt, 100, r) } }
  const timer = setTimeout(again, 3000)
  const decimal = String(parseInt(r.id, 16)).padStart(10, '0')
  session.deliver_sm({
    esm_class: 4, source_addr: r.to, destination_addr: r.from,
    short_message: `id:${decimal} sub:001 dlvrd:${r.stat === 'DELIVRD' ? '001' : '000'} submit date:2611270300 done date:2611270301 stat:${r.stat} err:000 text:`
  }, pdu => {
    clearTimeout(timer)
    if (pdu.command_status !== 0) return again()
    if (!told) { told = true; note({ ev: 'receipt', id: r.id, to: r.to, stat: r.stat }) }
  }, () => {}, again)
}

const server = smpp.createServer(session => {
  session.on('error', () => {})
  session.on('close', () => bound.delete(session))
  session.on('bind_transceiver', pdu => {
    if (pdu.password !== 'secret08') return session.send(pdu.response({ command_status: smpp.ESME_RINVPASWD }))
    session.send(pdu.response({ system_id: 'smsc' }))
    bound.add(session)
    note({ ev: 'bound' })
  })
  session.on('enquire_link', pdu => session.send(pdu.response()))
  session.on('unbind', pdu => { session.send(pdu.response()); bound.delete(session); session.close() })
  session.on('submit_sm', pdu => {
    const text = pdu.short_message.message
    const sms = { to: pdu.destination_addr, from: pdu.source_addr, text: Buffer.isBuffer(text) ? text.toString('hex') : text, validity: pdu.validity_period }
    const end = () => session.socket.destroy()
    if (likely(o.lose)) { note({ ev: 'lost', ...sms }); return end() }
    const answer = fields => setTimeout(() => {
      if (likely(o.wrong)) session.send(new smpp.PDU('submit_sm_resp', { sequence_number: 0x7ffffff0, message_id: 'nothing' }))
      session.send(pdu.response(fields))
    }, chance() * o.delay)
    if (o.permanent && sms.to.endsWith(o.permanent)) { note({ ev: 'permanent', ...sms }); return answer({ command_status: smpp.ESME_RINVDSTADR }) }
    if (likely(o.refuse)) { note({ ev: 'refused', ...sms }); return answer({ command_status: smpp.ESME_RSYSERR }) }
    if (likely(o.refuse / 2)) { note({ ev: 'throttled', ...sms }); return answer({ command_status: smpp.ESME_RTHROTTLED }) }
    const id = (ids++).toString(16).toUpperCase()
    note({ ev: 'accepted', id, ...sms })
    if (!likely(o.silent)) {
      const r = { id, to: sms.to, from: sms.from, stat: likely(o.deliver) ? 'DELIVRD' : likely(0.5) ? 'UNDELIV' : 'EXPIRED' }
      const after = likely(0.25) ? 0 : chance() * o.receipt
      if (after === 0) receipt(r); else setTimeout(receipt, after, r)
      if (likely(o.twice)) setTimeout(receipt, after + chance() * o.receipt, r)
    }
    if (likely(o.lose)) { note({ ev: 'unanswered', id, ...sms }); return end() }
    answer({ message_id: id })
  })
})
server.listen(0, '127.0.0.1', () => note({ ev: 'listening', port: server.address().port }))
