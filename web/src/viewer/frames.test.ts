import { describe, expect, it } from 'vitest'
import type { Dataset } from './dicomjson'
import { along, framesOf, letters, opposite, stackOf } from './frames'

interface Options {
  z?: number
  n?: number
  orientation?: number[]
  frames?: number
  more?: Dataset
}

function image(sop: string, { z, n, orientation = [1, 0, 0, 0, 1, 0], frames, more = {} }: Options = {}): Dataset {
  const v = (vr: string, ...Value: unknown[]) => ({ vr, Value })
  return {
    '00080018': v('UI', sop),
    '00080060': v('CS', 'CT'),
    '00280004': v('CS', 'MONOCHROME2'),
    '00280010': v('US', 512),
    '00280011': v('US', 512),
    ...(n === undefined ? {} : { '00200013': v('IS', n) }),
    ...(frames === undefined ? {} : { '00280008': v('IS', frames) }),
    ...(z === undefined ? {} : { '00200032': v('DS', -100, -100, z), '00200037': v('DS', ...orientation) }),
    ...more,
  }
}

const order = (datasets: Dataset[]) => stackOf(datasets).map((frame) => (frame.frames > 1 ? `${frame.sop}#${frame.number}` : frame.sop))

describe('stackOf', () => {
  it('goes by position along the normal, whatever the numbers and the order of arrival', () => {
    expect(order([image('c', { z: 5, n: 1 }), image('a', { z: -5, n: 3 }), image('b', { z: 0, n: 2 })])).toEqual(['a', 'b', 'c'])
  })
  it('breaks a tie of position by instance number', () => {
    expect(order([image('b', { z: 0, n: 2 }), image('a', { z: 0, n: 1 }), image('c', { z: -1, n: 9 })])).toEqual(['c', 'a', 'b'])
  })
  it('takes a sagittal stack along its own normal', () => {
    const sagittal = [0, 1, 0, 0, 0, -1]
    const at = (sop: string, x: number) =>
      image(sop, { z: 0, orientation: sagittal, more: { '00200032': { vr: 'DS', Value: [x, 0, 0] } } })
    expect(order([at('left', 40), at('right', -40), at('mid', 0)])).toEqual(['left', 'mid', 'right'])
  })
  it('goes by instance number when slices do not lie parallel or have no position', () => {
    expect(order([image('b', { z: 0, n: 2 }), image('a', { z: 9, n: 1, orientation: [0, 1, 0, 0, 0, -1] })])).toEqual(['a', 'b'])
    expect(order([image('z', {}), image('y', { n: 10 }), image('x', { n: 9 }), image('w', {})])).toEqual(['x', 'y', 'w', 'z'])
  })
  it('expands the frames of each instance and leaves out what holds no image', () => {
    const report = { '00080018': { vr: 'UI', Value: ['sr'] }, '00080060': { vr: 'CS', Value: ['SR'] } }
    expect(order([image('b', { n: 2, frames: 2 }), report, image('a', { n: 1 })])).toEqual(['a', 'b#1', 'b#2'])
  })
})

describe('framesOf', () => {
  it('reads the functional groups of an enhanced multi-frame', () => {
    const group = (z: number, center: number): Dataset => ({
      '00209113': { vr: 'SQ', Value: [{ '00200032': { vr: 'DS', Value: [0, 0, z] } }] },
      '00289132': { vr: 'SQ', Value: [{ '00281050': { vr: 'DS', Value: [center] }, '00281051': { vr: 'DS', Value: [100] } }] },
    })
    const shared: Dataset = {
      '00209116': { vr: 'SQ', Value: [{ '00200037': { vr: 'DS', Value: [1, 0, 0, 0, 1, 0] } }] },
      '00289110': { vr: 'SQ', Value: [{ '00280030': { vr: 'DS', Value: [0.5, 0.7] } }] },
    }
    const frames = framesOf(
      image('e', { frames: 2, more: { '52009229': { vr: 'SQ', Value: [shared] }, '52009230': { vr: 'SQ', Value: [group(1, 10), group(4, 20)] } } }),
    )
    expect(frames.map(along)).toEqual([1, 4])
    expect(frames.map((frame) => frame.windows[0]?.center)).toEqual([10, 20])
    expect(frames[1]?.spacing).toEqual([0.5, 0.7])
  })
  it('knows the unit of a value only where the file says it', () => {
    const unit = (more: Dataset) => framesOf(image('u', { more }))[0]?.unit
    expect(unit({})).toBe('HU')
    expect(unit({ '00281054': { vr: 'LO', Value: ['OD'] } })).toBe('OD')
    expect(unit({ '00080060': { vr: 'CS', Value: ['MR'] }, '00281054': { vr: 'LO', Value: ['US'] } })).toBeUndefined()
    expect(unit({ '00080060': { vr: 'CS', Value: ['PT'] }, '00541001': { vr: 'CS', Value: ['BQML'] } })).toBe('Bq/ml')
  })
  it('takes no spacing for none, not for one', () => {
    expect(framesOf(image('s'))[0]?.spacing).toBeUndefined()
  })
  it('reads the rate of a cine from whichever tag has it', () => {
    const rate = (more: Dataset) => framesOf(image('r', { frames: 3, more }))[0]?.rate
    expect(rate({ '00180040': { vr: 'IS', Value: [24] } })).toBe(24)
    expect(rate({ '00181063': { vr: 'DS', Value: [50] } })).toBe(20)
    expect(rate({ '00181065': { vr: 'DS', Value: [0, 40, 40] } })).toBe(25)
    expect(rate({})).toBeUndefined()
  })
})

describe('letters', () => {
  it('names the axes of the patient', () => {
    expect(letters([1, 0, 0])).toBe('L')
    expect(letters([0, -1, 0])).toBe('A')
    expect(letters([0, 0.1, -0.99])).toBe('F')
    expect(letters([-0.8, 0.6, 0])).toBe('RP')
    expect(opposite('RP')).toBe('LA')
  })
})
