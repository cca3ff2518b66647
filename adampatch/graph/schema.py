"""The fields of the messages that a graph or a meta graph in text form may hold. Data.

Each row is `number name kind`; a kind with a capital is a message, `enum X` one of ENUMS.
"""

from __future__ import annotations

from typing import Dict, NamedTuple


class Field(NamedTuple):
    number: int
    name: str
    kind: str


_MESSAGES = {
    "GraphDef": "1 node NodeDef, 2 library Library, 3 version int, 4 versions VersionDef, 5 debug_info DebugInfo",
    "NodeDef": "1 name string, 2 op string, 3 input string, 4 device string, 5 attr AttrEntry, "
    "6 experimental_debug_info NodeDebugInfo, 7 experimental_type FullTypeDef",
    "AttrEntry": "1 key string, 2 value AttrValue",
    "AttrValue": "1 list AttrList, 2 s bytes, 3 i int, 4 f float, 5 b bool, 6 type enum DataType, 7 shape Shape, "
    "8 tensor TensorProto, 9 placeholder string, 10 func NameAttrList",
    "AttrList": "2 s bytes, 3 i int, 4 f float, 5 b bool, 6 type enum DataType, 7 shape Shape, "
    "8 tensor TensorProto, 9 func NameAttrList",
    "NameAttrList": "1 name string, 2 attr AttrEntry",
    "Shape": "2 dim Dim, 3 unknown_rank bool",
    "Dim": "1 size int, 2 name string",
    "TensorProto": "1 dtype enum DataType, 2 tensor_shape Shape, 3 version_number int, 4 tensor_content bytes, "
    "13 half_val int, 5 float_val float, 6 double_val double, 7 int_val int, 8 string_val bytes, "
    "9 scomplex_val float, 10 int64_val int, 11 bool_val bool, 12 dcomplex_val double, "
    "14 resource_handle_val ResourceHandle, 15 variant_val Variant, 16 uint32_val uint, 17 uint64_val uint, "
    "18 float8_val bytes",
    "ResourceHandle": "1 device string, 2 container string, 3 name string, 4 hash_code uint, "
    "5 maybe_type_name string, 6 dtypes_and_shapes DtypeAndShape",
    "DtypeAndShape": "1 dtype enum DataType, 2 shape Shape",
    "Variant": "1 type_name string, 2 metadata bytes, 3 tensors TensorProto",
    "FullTypeDef": "1 type_id enum FullTypeId, 2 args FullTypeDef, 3 s string, 4 i int",
    "NodeDebugInfo": "1 original_node_names string, 2 original_func_names string",
    "VersionDef": "1 producer int, 2 min_consumer int, 3 bad_consumers int",
    "Library": "1 function FunctionDef, 2 gradient GradientDef, 3 registered_gradients RegisteredGradient",
    "GradientDef": "1 function_name string, 2 gradient_func string",
    "RegisteredGradient": "1 gradient_func string, 2 registered_op_type string",
    "FunctionDef": "1 signature OpDef, 5 attr AttrEntry, 7 arg_attr ArgAttrEntry, "
    "8 resource_arg_unique_id IntEntry, 3 node_def NodeDef, 4 ret TextEntry, 6 control_ret TextEntry",
    "ArgAttrEntry": "1 key int, 2 value ArgAttrs",
    "ArgAttrs": "1 attr AttrEntry",
    "IntEntry": "1 key int, 2 value int",
    "TextEntry": "1 key string, 2 value string",
    "OpDef": "1 name string, 2 input_arg ArgDef, 3 output_arg ArgDef, 20 control_output string, 4 attr AttrDef, "
    "8 deprecation Deprecation, 5 summary string, 6 description string, 18 is_commutative bool, "
    "16 is_aggregate bool, 17 is_stateful bool, 19 allows_uninitialized_input bool, "
    "21 is_distributed_communication bool",
    "ArgDef": "1 name string, 2 description string, 3 type enum DataType, 4 type_attr string, "
    "5 number_attr string, 6 type_list_attr string, 7 handle_data DtypeAndShape, 16 is_ref bool, "
    "17 experimental_full_type FullTypeDef",
    "AttrDef": "1 name string, 2 type string, 3 default_value AttrValue, 4 description string, "
    "5 has_minimum bool, 6 minimum int, 7 allowed_values AttrValue",
    "Deprecation": "1 version int, 2 explanation string",
    "DebugInfo": "1 files string, 4 frames_by_id FrameEntry, 6 traces_by_id IdTraceEntry, 2 traces TraceEntry, "
    "5 name_to_trace_id TraceIdEntry",
    "FrameEntry": "1 key fixed64, 2 value FileLineCol",
    "FileLineCol": "1 file_index int, 2 line int, 3 col int, 4 func string, 5 code string",
    "IdTraceEntry": "1 key fixed64, 2 value StackTrace",
    "StackTrace": "1 file_line_cols FileLineCol, 2 frame_id fixed64",
    "TraceEntry": "1 key string, 2 value StackTrace",
    "TraceIdEntry": "1 key string, 2 value fixed64",
    "MetaGraphDef": "1 meta_info_def MetaInfo, 2 graph_def GraphDef, 3 saver_def SaverDef, "
    "4 collection_def CollectionEntry, 5 signature_def SignatureEntry, 6 asset_file_def AssetFile",
    "MetaInfo": "1 meta_graph_version string, 2 stripped_op_list OpList, 4 tags string, "
    "5 tensorflow_version string, 6 tensorflow_git_version string, 7 stripped_default_attrs bool, "
    "8 function_aliases TextEntry",
    "OpList": "1 op OpDef",
    "SaverDef": "1 filename_tensor_name string, 2 save_tensor_name string, 3 restore_op_name string, "
    "4 max_to_keep int, 5 sharded bool, 6 keep_checkpoint_every_n_hours float, 7 version enum SaverVersion",
    "CollectionEntry": "1 key string, 2 value CollectionDef",
    "CollectionDef": "1 node_list Texts, 2 bytes_list Bytes, 3 int64_list Ints, 4 float_list Floats",
    "Texts": "1 value string",
    "Bytes": "1 value bytes",
    "Ints": "1 value int",
    "Floats": "1 value float",
    "SignatureEntry": "1 key string, 2 value SignatureDef",
    "SignatureDef": "1 inputs TensorInfoEntry, 2 outputs TensorInfoEntry, 3 method_name string, "
    "4 defaults DefaultEntry",
    "TensorInfoEntry": "1 key string, 2 value TensorInfo",
    "DefaultEntry": "1 key string, 2 value TensorProto",
    "TensorInfo": "1 name string, 4 coo_sparse CooSparse, 2 dtype enum DataType, 3 tensor_shape Shape",
    "CooSparse": "1 values_tensor_name string, 2 indices_tensor_name string, 3 dense_shape_tensor_name string",
    "AssetFile": "1 tensor_info TensorInfo, 2 filename string",
}


def _fields(text: str) -> Dict[str, Field]:
    rows = (row.split(" ", 2) for row in text.split(", "))
    return {name: Field(int(number), name, kind) for number, name, kind in rows}


MESSAGES: Dict[str, Dict[str, Field]] = {name: _fields(text) for name, text in _MESSAGES.items()}

_TYPES = [
    "INVALID",
    "FLOAT",
    "DOUBLE",
    "INT32",
    "UINT8",
    "INT16",
    "INT8",
    "STRING",
    "COMPLEX64",
    "INT64",
    "BOOL",
    "QINT8",
    "QUINT8",
    "QINT32",
    "BFLOAT16",
    "QINT16",
    "QUINT16",
    "UINT16",
    "COMPLEX128",
    "HALF",
    "RESOURCE",
    "VARIANT",
    "UINT32",
    "UINT64",
    "FLOAT8_E5M2",
    "FLOAT8_E4M3FN",
    "FLOAT8_E4M3FNUZ",
    "FLOAT8_E4M3B11FNUZ",
    "FLOAT8_E5M2FNUZ",
    "INT4",
    "UINT4",
    "INT2",
    "UINT2",
]
_FULL_TYPES = {
    **{name: number for number, name in enumerate(["UNSET", "VAR", "ANY", "PRODUCT", "NAMED"])},
    "FOR_EACH": 20,
    "CALLABLE": 100,
    **{
        name: number
        for number, name in enumerate(
            [
                "BOOL",
                "UINT8",
                "UINT16",
                "UINT32",
                "UINT64",
                "INT8",
                "INT16",
                "INT32",
                "INT64",
                "HALF",
                "FLOAT",
                "DOUBLE",
                "COMPLEX64",
                "COMPLEX128",
                "STRING",
                "BFLOAT16",
            ],
            200,
        )
    },
    **{
        name: number
        for number, name in enumerate(
            ["TENSOR", "ARRAY", "OPTIONAL", "LITERAL", "ENCODED", "SHAPE_TENSOR"], 1000
        )
    },
    "DATASET": 10102,
    "RAGGED": 10103,
    "ITERATOR": 10104,
    "MUTEX_LOCK": 10202,
    "LEGACY_VARIANT": 10203,
}
ENUMS: Dict[str, Dict[str, int]] = {
    "DataType": {
        **{"DT_" + name: number for number, name in enumerate(_TYPES)},
        **{f"DT_{name}_REF": number + 100 for number, name in enumerate(_TYPES) if number},
    },
    "FullTypeId": {"TFT_" + name: number for name, number in _FULL_TYPES.items()},
    "SaverVersion": {"LEGACY": 0, "V1": 1, "V2": 2},
}
