import { describe, expect, it } from 'vitest'
import type { Tag } from '../api/types'
import { visibleTags } from './tags'

const row = (tag: string, keyword: string, value: string, depth = 0): Tag => ({ tag, keyword, vr: 'LO', name: keyword, value, depth })

const rows = [
  row('0008,0060', 'Modality', 'CT'),
  row('0008,1140', 'ReferencedImageSequence', ''),
  row('0008,1150', 'ReferencedSOPClassUID', '1.2.840', 1),
  row('0040,A170', 'PurposeSequence', '', 1),
  row('0008,0100', 'CodeValue', '121311', 2),
  row('0010,0020', 'PatientID', 'HIL-1'),
]
const seen = (find: string, closed: number[] = []) => visibleTags(rows, find, new Set(closed)).map(({ index }) => index)

describe('visibleTags', () => {
  it('shows all without a search', () => expect(seen('')).toEqual([0, 1, 2, 3, 4, 5]))
  it('hides what lies in a closed sequence', () => {
    expect(seen('', [1])).toEqual([0, 1, 5])
    expect(seen('', [3])).toEqual([0, 1, 2, 3, 5])
  })
  it('finds by keyword, tag with or without its comma, and value', () => {
    expect(seen('modal')).toEqual([0])
    expect(seen('00100020')).toEqual([5])
    expect(seen('(0010,0020)')).toEqual([5])
    expect(seen('hil-1')).toEqual([5])
  })
  it('keeps the way to what it found inside sequences', () => expect(seen('121311')).toEqual([1, 3, 4]))
  it('knows what can be folded', () =>
    expect(visibleTags(rows, '', new Set()).filter(({ opens }) => opens).map(({ index }) => index)).toEqual([1, 3]))
})
